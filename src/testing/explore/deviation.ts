import { injected } from '../fault-desk.ts'
import type { Fault } from '../simulation/point.ts'

/** What a deviation does to the run at a point. */
export type DeviationFault =
  | { readonly kind: 'crash'; readonly power: boolean }
  | { readonly kind: 'error' }
  | { readonly kind: 'slow'; readonly ms: number }
  | { readonly kind: 'hang' }
  | { readonly kind: 'duplicate' }
  | { readonly kind: 'join' }
  | { readonly kind: 'leave' }
  | { readonly kind: 'full'; readonly ms: number }
  | { readonly kind: 'jump'; readonly byMs: number }

/**
 * One departure from the plain run (no faults, the oldest action first), by names instead of positions, so that it survives
 * small changes of the code.
 *
 * - `hold`: the n-th time that `at` would run, it waits until nothing else can
 * - `run`: the n-th time that `at` would run, `instead` does
 * - `fault`: from the n-th time on that the point `at` is passed, a fault strikes, so many times
 */
export type Deviation =
  | { readonly kind: 'hold'; readonly at: string; readonly nth: number }
  | { readonly kind: 'run'; readonly at: string; readonly nth: number; readonly instead: string }
  | {
      readonly kind: 'fault'
      readonly at: string
      readonly nth: number
      readonly fault: DeviationFault
      /** 0 for every time. */
      readonly times: number
    }

/** What kinds of things an exploration may do. */
export const deviationKinds = [
  'schedule',
  'crash',
  'power',
  'handlerError',
  'poison',
  'slow',
  'stuck',
  'duplicate',
  'rebalance',
  'storeFull',
  'wallClock',
] as const

/**
 * A kind of deviation.
 *
 * - `schedule`: another order of what could run, legal within the rules of the queue
 * - `crash`, `power`: the process ends, the power fails, at a named point; also again and again
 * - `handlerError`: a handler fails once; `poison`: it fails always, for a message or a key
 * - `slow`: a handler takes a minute; `stuck`: it takes until the faults end
 * - `duplicate`: a message is handed out once more
 * - `rebalance`: a member joins or leaves
 * - `storeFull`: sends find no room for a second; `wallClock`: it jumps by an hour
 */
export type DeviationKind = (typeof deviationKinds)[number]

/** The fault that a deviation stands for. */
export function faultOf(fault: DeviationFault): Fault {
  return fault.kind === 'error' ? { kind: 'error', error: injected } : fault
}

/** In words, for the story of a failure. */
export function describeDeviation(deviation: Deviation): string {
  const time = deviation.nth === 1 ? '' : ` (time ${deviation.nth})`
  switch (deviation.kind) {
    case 'hold':
      return `"${deviation.at}"${time} waits until nothing else can run`
    case 'run':
      return `"${deviation.instead}" runs before "${deviation.at}"${time}`
    case 'fault': {
      const often = deviation.times === 1 ? '' : deviation.times === 0 ? ', every time' : `, ${deviation.times} times`
      return `${describeFault(deviation.fault)} at "${deviation.at}"${time}${often}`
    }
  }
}

function describeFault(fault: DeviationFault): string {
  switch (fault.kind) {
    case 'crash':
      return fault.power ? 'power failure' : 'process crash'
    case 'error':
      return 'the handler fails'
    case 'slow':
      return `the handler is slow by ${fault.ms} ms`
    case 'hang':
      return 'the handler is stuck'
    case 'duplicate':
      return 'the message is handed out once more'
    case 'join':
      return 'another member joins'
    case 'leave':
      return 'the member leaves'
    case 'full':
      return `the store is full for ${fault.ms} ms`
    case 'jump':
      return `the wall clock jumps by ${fault.byMs} ms`
  }
}

/** The same words for the same deviation. */
export function nameOf(deviation: Deviation): string {
  return JSON.stringify(deviation)
}
