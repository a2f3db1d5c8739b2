import type { Point } from '../simulation/point.ts'
import { nameOf, type Deviation, type DeviationFault, type DeviationKind } from './deviation.ts'
import { keyLabel, type PassedPoint, type Schedule } from './schedule.ts'

/** A deviation that a run could have taken, with the moment at which it departs. */
export interface Candidate {
  readonly deviation: Deviation
  readonly kind: DeviationKind
  /** Points passed and decisions made before it. */
  readonly moment: number
}

const slowMs = 60_000
const fullMs = 1_000
const jumpMs = 3_600_000
/** How often a process dies at the same place before it gets over it. */
const crashLoop = 3

/** Every single deviation that was possible in a recorded run, kinds in turn, so that a small budget tries some of each. */
export function candidatesOf(schedule: Schedule, kinds: ReadonlySet<DeviationKind>): Candidate[] {
  const byKind = new Map<DeviationKind, Candidate[]>()
  const known = new Set<string>()
  const add = (kind: DeviationKind, moment: number, deviation: Deviation): void => {
    if (!kinds.has(kind)) return
    const name = nameOf(deviation)
    if (known.has(name)) return
    known.add(name)
    if (!byKind.has(kind)) byKind.set(kind, [])
    byKind.get(kind)!.push({ deviation, kind, moment })
  }
  schedule.decisions.forEach(({ at, nth, others, passed }, decided) => {
    if (others.length === 0) return
    const moment = decided + passed
    add('schedule', moment, { kind: 'hold', at, nth })
    for (const instead of new Set([others[0]!, others.at(-1)!])) {
      if (instead !== at) add('schedule', moment, { kind: 'run', at, nth, instead })
    }
  })
  schedule.points.forEach((passed, i) => addFaults(passed, passed.decided + i, add))
  return inTurn([...byKind.values()])
}

type Add = (kind: DeviationKind, moment: number, deviation: Deviation) => void

function addFaults({ point, nth }: PassedPoint, moment: number, add: Add): void {
  const at = point.label
  const fault = (kind: DeviationKind, what: DeviationFault, times = 1): void =>
    add(kind, moment, { kind: 'fault', at, nth, fault: what, times })
  if (point.name === 'commit:applied') return fault('power', { kind: 'crash', power: true })
  if (point.name === 'deliver') {
    fault('rebalance', { kind: 'join' })
    return fault('rebalance', { kind: 'leave' })
  }
  fault('crash', { kind: 'crash', power: false })
  if (point.name === 'handler:done') fault('duplicate', { kind: 'duplicate' })
  if (point.name === 'commit:flushed') {
    fault('storeFull', { kind: 'full', ms: fullMs })
    fault('wallClock', { kind: 'jump', byMs: nth % 2 === 0 ? jumpMs : -jumpMs })
  }
  if (point.name !== 'handler:start') return
  fault('crash', { kind: 'crash', power: false }, crashLoop)
  fault('handlerError', { kind: 'error' })
  fault('slow', { kind: 'slow', ms: slowMs })
  fault('stuck', { kind: 'hang' })
  addPoison(point, nth, moment, add)
}

function addPoison(point: Point, nth: number, moment: number, add: Add): void {
  const error: DeviationFault = { kind: 'error' }
  if (nth === 1) add('poison', moment, { kind: 'fault', at: point.label, nth: 1, fault: error, times: 0 })
  if (point.key === undefined) return
  add('poison', moment, { kind: 'fault', at: keyLabel(point), nth: 1, fault: error, times: 0 })
}

/** One of each list, then the next of each. */
function inTurn<T>(lists: readonly (readonly T[])[]): T[] {
  const found: T[] = []
  const longest = Math.max(0, ...lists.map(({ length }) => length))
  for (let i = 0; i < longest; i++) for (const list of lists) if (i < list.length) found.push(list[i]!)
  return found
}
