import type { Delivery, EventChecks, HistoryEvent, Invariant } from '../../src/testing/index.ts'

/** In place of the offset of a message that is done. */
const finished = -1

interface Hands {
  readonly ordering: 'key' | 'partition' | 'unordered'
  readonly concurrency: number
  running: number
}

/** A message of a group that is in the log and not done. */
interface Waiting {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly key: string | undefined
  /** It runs, waits for its retry, or is parked. */
  isTaken: boolean
}

/**
 * Whenever time passes, no member has a free handler and a message that it could be handed. For flows without pauses,
 * seeks, arrays, small buffers, careful starts after a crash, and members that come and go, where nothing else may hold a
 * message back.
 */
export const noIdleHands: Invariant = {
  name: 'no-idle-hands',
  about: 'Time passes only when all handlers are busy or every message that is left has to wait for another one.',
  begin: () => new IdleHands().checks,
}

class IdleHands {
  readonly #members = new Map<string, Hands>()
  readonly #groups = new Map<string, Map<string, Waiting>>()
  /** Owners by group and partition; every topic of a group belongs to its one member here. */
  readonly #owners = new Map<string, string>()
  /** What the log holds, for groups that come later. */
  readonly #log: Waiting[] = []
  /** Messages of a group that failed and are not done: a restart knows it and lets them wait on. */
  readonly #failed = new Set<string>()
  #at = 0
  #isDead = false

  readonly checks: EventChecks = {
    joined: (event) => {
      const { group, member, ordering, concurrency } = event
      const text = this.#look(event)
      this.#members.set(member, { ordering, concurrency, running: 0 })
      if (!this.#groups.has(group)) this.#groups.set(group, new Map())
      return text
    },
    granted: (event) => {
      const { group, topic, partition, member, position } = event
      const text = this.#look(event)
      this.#owners.set(`${group} ${topic} ${partition}`, member)
      for (const waiting of this.#log) {
        if (waiting.topic !== topic || waiting.partition !== partition) continue
        if (waiting.offset >= position) this.#add(group, waiting)
      }
      return text
    },
    acked: (event) => {
      const text = this.#look(event)
      const waiting = { ...event, isTaken: false }
      this.#log.push(waiting)
      for (const group of this.#groups.keys()) this.#add(group, waiting)
      return text
    },
    deliver: (event) => {
      const text = this.#look(event)
      if (!event.isDuplicate) this.#take(event)
      return text
    },
    done: (event) => {
      const text = this.#look(event)
      if (event.isDuplicate) return text
      this.#give(event)
      this.#groups.get(event.group)!.set(nameOf(event), { ...event, offset: finished, isTaken: true })
      return text
    },
    error: (event) => {
      const text = this.#look(event)
      if (!event.isDuplicate) this.#give(event)
      return text
    },
    failed: (event) => {
      this.#failed.add(`${event.group} ${nameOf(event)}`)
      return this.#look(event)
    },
    settled: (event) => this.#look(event),
    drained: (event) => this.#look(event),
    crash: (event) => {
      const text = this.#look(event)
      this.#isDead = true
      return text
    },
    snapshot: (event) => {
      const text = this.#look(event)
      if (event.reason === 'restart') this.#restart(event)
      return text
    },
  }

  /** Before what an event changes: whether time has passed since the last one while somebody could have worked. */
  #look({ at }: HistoryEvent): string | undefined {
    const text = at > this.#at && !this.#isDead ? this.#idle() : undefined
    this.#at = at
    return text
  }

  #add(group: string, waiting: Waiting): void {
    const known = this.#groups.get(group)!
    const name = nameOf(waiting)
    if (!known.has(name)) known.set(name, { ...waiting, isTaken: false })
  }

  #take(event: Delivery): void {
    this.#members.get(event.member)!.running++
    // It may be handed out before its sender was told; once failed it waits or is parked, and stays taken.
    this.#groups.get(event.group)!.set(nameOf(event), { ...event, isTaken: true })
  }

  #give({ member }: Delivery): void {
    const hands = this.#members.get(member)
    if (hands) hands.running--
  }

  #restart({ progress, logs }: HistoryEvent<'snapshot'>): void {
    this.#isDead = false
    this.#members.clear()
    this.#owners.clear()
    this.#log.length = 0
    for (const { topic, partition, records } of logs) {
      for (const { offset, key } of records) this.#log.push({ topic, partition, offset, key, isTaken: false })
    }
    for (const [name, known] of this.#groups) {
      known.clear()
      for (const { group, topic, partition, position, finishedAbove } of progress) {
        if (group !== name) continue
        for (const waiting of this.#log) {
          const { offset } = waiting
          if (waiting.topic !== topic || waiting.partition !== partition || offset < position) continue
          const isDone = finishedAbove.includes(offset)
          const isTaken = isDone || this.#failed.has(`${name} ${nameOf(waiting)}`)
          known.set(nameOf(waiting), { ...waiting, offset: isDone ? finished : offset, isTaken })
        }
      }
    }
  }

  #idle(): string | undefined {
    for (const [group, known] of this.#groups) {
      /** Lanes with an earlier message that is not done, in the order of the offsets. */
      const busy = new Set<string>()
      const left = [...known.values()]
        .filter(({ offset }) => offset !== finished)
        .toSorted((a, b) => a.offset - b.offset)
      for (const { topic, partition, offset, key, isTaken } of left) {
        const member = this.#owners.get(`${group} ${topic} ${partition}`)
        const hands = member === undefined ? undefined : this.#members.get(member)
        if (hands === undefined) continue
        // A member keeps a key to one handler over all partitions of a topic.
        const lane = hands.ordering === 'partition' ? `${topic} ${partition}` : `${topic} ${key}`
        const isAlone = hands.ordering === 'unordered' || (hands.ordering === 'key' && key === undefined)
        const isFree = isAlone || !busy.has(lane)
        if (!isAlone) busy.add(lane)
        if (isTaken || !isFree || hands.running >= hands.concurrency) continue
        return `${group}: time passed while ${topic}[${partition}]@${offset} (key ${key}) could be handed out to ${member}, of which ${hands.running} of ${hands.concurrency} handlers run`
      }
    }
    return undefined
  }
}

function nameOf({ topic, partition, offset }: { topic: string; partition: number; offset: number }): string {
  return `${topic}[${partition}]@${offset}`
}
