import type { Delivery, HistoryEvent, MemberLimits } from '../history.ts'
import type { EventChecks, Invariant } from './invariant.ts'
import { placeText } from './place-map.ts'

interface BoundedMember {
  limits: MemberLimits
  /** Messages of each live call. */
  readonly calls: Map<number, number>
}

/** What is bounded stays within its bounds. */
export const bounds: Invariant = {
  name: 'bounds',
  about:
    'A member never runs more calls than its concurrency, tries more often than its attempts, or gets larger arrays.',
  begin: () => new Bounds().checks,
}

class Bounds {
  readonly #groups = new Map<string, Map<string, BoundedMember>>()

  readonly checks: EventChecks = {
    joined: (event) => {
      let members = this.#groups.get(event.group)
      if (members === undefined) this.#groups.set(event.group, (members = new Map()))
      const known = members.get(event.member)
      // The same member again has other limits from now on; what runs goes on.
      if (known === undefined) members.set(event.member, { limits: event, calls: new Map() })
      else known.limits = event
    },
    resized: ({ group, member, concurrency }) => {
      const known = this.#groups.get(group)?.get(member)
      if (known !== undefined) known.limits = { ...known.limits, concurrency }
    },
    deliver: (event) => (event.isDuplicate ? undefined : this.#deliver(event)),
    done: (event) => this.#ended(event),
    error: (event) => this.#ended(event),
    crash: () => this.#groups.clear(),
    snapshot: ({ reason }) => {
      if (reason === 'restart') this.#groups.clear()
    },
  }

  #deliver(event: HistoryEvent<'deliver'>): string | undefined {
    const member = this.#groups.get(event.group)?.get(event.member)
    if (member === undefined) return
    const { limits, calls } = member
    const count = (calls.get(event.call) ?? 0) + 1
    calls.set(event.call, count)
    const { concurrency, attempts, batchMax = 1 } = limits
    let broken: string
    if (calls.size > concurrency && count === 1) broken = `call ${calls.size} of at most ${concurrency}`
    else if (count > batchMax) broken = `message ${count} of a call of at most ${batchMax}`
    else if (event.attempt > attempts || event.attempt < 1) broken = `attempt ${event.attempt} of ${attempts}`
    else return
    return `${event.group}: ${placeText(event)} was handed out to ${event.member} as ${broken}`
  }

  #ended(event: Delivery): void {
    if (event.isDuplicate) return
    const calls = this.#groups.get(event.group)?.get(event.member)?.calls
    const count = calls?.get(event.call)
    if (calls === undefined || count === undefined) return
    if (count === 1) calls.delete(event.call)
    else calls.set(event.call, count - 1)
  }
}
