import { partitionOf } from '../../src/partitioner.ts'

/**
 * What a line of the journal says, by its first word.
 *
 * R round · A topic n partition offset acks (acknowledged) · M topic n,n,… (a batch is about to be sent) · H group id n key
 * partition offset attempt call (a handler begins) · D group id (it ended well) · E group id (it failed) · B group id (its
 * batch took it back) · Q group count (so many of the D of this round are durable) · T/t topic partition before (a trim
 * begins, is acknowledged) · C/c name · X/x name (a topic is made, deleted) · Z group count (left when all was to be done)
 */
type Line = readonly string[]

/** What a life of the queue found when it was opened. */
export interface FoundState {
  readonly round: number
  readonly names: readonly string[]
  readonly damages: readonly string[]
  readonly topics: Readonly<Record<string, FoundTopic>>
  readonly groups: Readonly<Record<string, readonly FoundPosition[]>>
}

export interface FoundTopic {
  readonly offsets: readonly { readonly start: number; readonly end: number }[]
  /** Partition, offset, id, number of the message. */
  readonly messages: readonly (readonly [number, number, string, number])[]
}

export interface FoundPosition {
  readonly topic: string
  readonly partition: number
  readonly position: number
  readonly finishedAbove: number
}

interface Place {
  readonly topic: string
  readonly partition: number
  readonly offset: number
}

interface Delivery {
  readonly id: string
  readonly n: number
  readonly round: number
  readonly call: string
  state: 'running' | 'done' | 'failed' | 'back'
}

/** Everything that one group did, as the journal tells it. */
interface GroupHistory {
  /** The latest delivery of each id. */
  readonly deliveries: Map<string, Delivery>
  /** Ids that were ever finished. */
  readonly done: Set<string>
  /** Ids whose progress was durable before the process died. */
  readonly durable: Set<string>
  /** Ids finished in this round, in order. */
  doneInRound: string[]
  /** What each key runs now. */
  readonly running: Map<string, Delivery>
}

/** Reads the journal line by line and remembers what must hold at the next opening. Pure: lines in, violations out. */
export class History {
  readonly violations: string[] = []
  readonly counts = { acknowledged: 0, handled: 0, repeated: 0, batches: 0, trimmed: 0, topics: 0, rounds: 0 }
  #round = 0
  readonly #acknowledged = new Map<number, Place & { readonly isFlushed: boolean }>()
  /** Messages that are known to have been stored, by number. */
  readonly #stored = new Map<number, Place>()
  readonly #numberOfId = new Map<string, number>()
  readonly #idOfNumber = new Map<number, string>()
  #batches: { readonly topic: string; readonly numbers: readonly number[] }[] = []
  readonly #groups = new Map<string, GroupHistory>()
  /** The highest offset that a trim may have removed up to, by partition; those acknowledged must have. */
  readonly #trims = new Map<string, { begun: number; acknowledged: number }>()
  readonly #topics = new Map<string, 'making' | 'made' | 'deleting' | 'deleted'>()

  line(text: string): void {
    const [word, ...rest] = text.split(' ') as [string, ...string[]]
    const reader = this.#readers[word]
    if (reader === undefined) this.#violated(`a line that nobody understands: ${text}`)
    else reader(rest)
  }

  readonly #readers: Readonly<Record<string, (words: Line) => void>> = {
    R: ([round]) => this.#began(Number(round)),
    A: ([topic, n, partition, offset, acks]) => {
      this.counts.acknowledged++
      const place = { topic: topic!, partition: Number(partition), offset: Number(offset) }
      this.#acknowledged.set(Number(n), { ...place, isFlushed: acks === 'flushed' })
      if (acks === 'flushed') this.#stored.set(Number(n), place)
    },
    M: ([topic, numbers]) => {
      this.counts.batches++
      this.#batches.push({ topic: topic!, numbers: numbers!.split(',').map(Number) })
    },
    H: ([group, id, n, key, , , , call]) =>
      this.#handed(this.#group(group!), group!, { id: id!, n: Number(n), round: this.#round, call: call! }, key!),
    D: ([group, id]) => this.#ended(this.#group(group!), id!, 'done'),
    E: ([group, id]) => this.#ended(this.#group(group!), id!, 'failed'),
    B: ([group, id]) => this.#ended(this.#group(group!), id!, 'back'),
    Q: ([group, count]) => {
      const { doneInRound, durable } = this.#group(group!)
      for (let i = Number(count) - 1; i >= 0 && !durable.has(doneInRound[i]!); i--) durable.add(doneInRound[i]!)
    },
    T: ([topic, partition, before]) => {
      const trim = this.#trim(topic!, Number(partition))
      trim.begun = Math.max(trim.begun, Number(before))
    },
    t: ([topic, partition, before]) => {
      this.counts.trimmed++
      const trim = this.#trim(topic!, Number(partition))
      trim.acknowledged = Math.max(trim.acknowledged, Number(before))
    },
    C: ([name]) => void this.#topics.set(name!, 'making'),
    c: ([name]) => {
      this.counts.topics++
      this.#topics.set(name!, 'made')
    },
    X: ([name]) => void this.#topics.set(name!, 'deleting'),
    x: ([name]) => void this.#topics.set(name!, 'deleted'),
    Z: ([group, left]) => {
      if (left !== '0') this.#violated(`group ${group} ended with ${left} messages left`)
    },
  }

  /** Compares what the next life found with everything that came before. */
  check(state: FoundState): void {
    for (const damage of state.damages) this.#violated(`damage: ${damage}`)
    for (const [name, topic] of Object.entries(state.topics)) this.#checkTopic(name, topic)
    this.#checkAcknowledged(state)
    this.#checkBatches(state)
    for (const [name, positions] of Object.entries(state.groups)) this.#checkPositions(name, positions, state)
    for (const [name, life] of this.#topics) {
      const exists = state.names.includes(name)
      if (life === 'made' && !exists) this.#violated(`topic ${name} was made and is gone`)
      if (life === 'deleted' && exists) this.#violated(`topic ${name} was deleted and is back`)
    }
  }

  #began(round: number): void {
    this.#round = round
    this.counts.rounds++
    for (const group of this.#groups.values()) {
      group.running.clear()
      group.doneInRound = []
    }
  }

  #handed(group: GroupHistory, name: string, handed: Omit<Delivery, 'state'>, key: string): void {
    const { id, n, round } = handed
    // Calls are numbered anew in every life.
    const call = `${round}.${handed.call}`
    const text = `${name} was handed ${id} (message ${n} of ${key})`
    this.counts.handled++
    this.#identify(id, n)
    const before = group.deliveries.get(id)
    if (before?.round === round && before.state !== 'failed' && before.state !== 'back') {
      this.#violated(`${text} twice in one life, though it did not fail`)
    }
    if (group.done.has(id)) this.counts.repeated++
    if (group.durable.has(id)) this.#violated(`${text} again after its progress was durable`)
    const running = group.running.get(key)
    if (running !== undefined && running.call !== call) {
      this.#violated(`${text} while ${running.id} of that key ran or waited for its retry`)
    }
    // Numbers of one key rise with their offsets; the message before it must be finished, or be in the same batch call.
    const previous = this.#previousStored(n)
    if (previous !== undefined) {
      const of = this.#idOfNumber.get(previous)
      const delivery = of === undefined ? undefined : group.deliveries.get(of)
      const isDone = of !== undefined && group.done.has(of)
      if (!isDone && delivery?.call !== call) this.#violated(`${text} before message ${previous} was finished`)
    }
    const delivery: Delivery = { ...handed, call, state: 'running' }
    group.deliveries.set(id, delivery)
    group.running.set(key, delivery)
  }

  #ended(group: GroupHistory, id: string, state: 'done' | 'failed' | 'back'): void {
    const delivery = group.deliveries.get(id)
    if (delivery === undefined) return this.#violated(`${id} ended without a beginning`)
    if (delivery.state === 'failed' && state === 'back') return
    delivery.state = state
    const key = keyOf(delivery.n)
    if (state === 'done') {
      group.done.add(id)
      group.doneInRound.push(id)
    }
    if (state !== 'done' || group.running.get(key) === delivery) group.running.delete(key)
  }

  #checkTopic(name: string, topic: FoundTopic): void {
    const next = topic.offsets.map(({ start }) => start)
    for (const [partition, offset, id, n] of topic.messages) {
      const place = `${name}/${partition}`
      if (offset !== next[partition]) this.#violated(`${place}: offset ${offset} where ${next[partition]} should be`)
      next[partition] = offset + 1
      this.#identify(id, n)
      if (partitionOf(keyOf(n), topic.offsets.length) !== partition) this.#violated(`${place} holds message ${n}`)
      this.#stored.set(n, { topic: name, partition, offset })
    }
    topic.offsets.forEach(({ start, end }, partition) => {
      if (next[partition] !== end) this.#violated(`${name}/${partition} ends at ${next[partition]}, not at ${end}`)
      const trim = this.#trims.get(`${name}/${partition}`)
      if (trim && start < trim.acknowledged) this.#violated(`${name}/${partition}: a trim was taken back`)
      if (trim && start > trim.begun) this.#violated(`${name}/${partition}: more was trimmed than asked`)
    })
  }

  #checkAcknowledged(state: FoundState): void {
    const found = placesIn(state)
    for (const [n, { topic, partition, offset, isFlushed }] of this.#acknowledged) {
      const here = state.topics[topic]!.offsets[partition]!
      const at = found.get(n)
      if (at !== undefined) {
        if (at.offset !== offset || at.partition !== partition) this.#violated(`message ${n} moved to ${at.offset}`)
        continue
      }
      // Judged once: what is below the start stays there.
      this.#acknowledged.delete(n)
      if (offset >= here.start) {
        if (isFlushed) this.#violated(`message ${n} was acknowledged at ${topic}/${partition}/${offset} and is lost`)
        this.#stored.delete(n)
      } else if (topic === 'main') this.#checkRetained(n, `message ${n}`)
    }
  }

  /** Retention may remove a message only when all groups have finished it. */
  #checkRetained(n: number, text: string): void {
    const id = this.#idOfNumber.get(n)
    for (const [name, { done }] of this.#groups) {
      if (id === undefined || !done.has(id)) this.#violated(`${text} was removed before group ${name} finished it`)
    }
  }

  #checkBatches(state: FoundState): void {
    const found = placesIn(state)
    for (const { topic, numbers } of this.#batches) {
      const here = state.topics[topic]!.offsets
      const isThere = (n: number): boolean => found.has(n)
      const isRemoved = (n: number): boolean => {
        const place = this.#stored.get(n)
        return place !== undefined && place.offset < here[place.partition]!.start
      }
      const seen = numbers.filter((n) => isThere(n) || isRemoved(n))
      // A message that retention removed was handled by all groups first, so its place is known from there.
      const unknown = numbers.filter((n) => !seen.includes(n) && !this.#wasRemovedUnseen(n))
      if (seen.length > 0 && unknown.length > 0) {
        this.#violated(`a batch is torn: ${seen.length} of ${numbers.length} are there, message ${unknown[0]} is not`)
      }
    }
    this.#batches = []
  }

  #wasRemovedUnseen(n: number): boolean {
    const id = this.#idOfNumber.get(n)
    return id !== undefined && [...this.#groups.values()].every(({ done }) => done.has(id))
  }

  #checkPositions(name: string, positions: readonly FoundPosition[], state: FoundState): void {
    const group = this.#group(name)
    for (const { topic, partition, position, finishedAbove } of positions) {
      const { start, end } = state.topics[topic]!.offsets[partition]!
      const place = `group ${name} in ${topic}/${partition}`
      if (position > end) this.#violated(`${place}: position ${position} is beyond the end ${end}`)
      if (position < start) this.#violated(`${place}: position ${position} is below the start ${start}`)
      let possible = 0
      let certain = 0
      for (const [of, offset, id] of state.topics[topic]!.messages) {
        if (of !== partition) continue
        if (offset < position && !group.done.has(id))
          this.#violated(`${place}: ${position} is past unfinished ${offset}`)
        if (offset === position && group.durable.has(id)) this.#violated(`${place}: ${offset} was durable and is lost`)
        if (offset <= position) continue
        if (group.done.has(id)) possible++
        if (group.durable.has(id)) certain++
      }
      if (finishedAbove > possible || finishedAbove < certain) {
        this.#violated(`${place}: ${finishedAbove} finished above ${position}, not ${certain} to ${possible}`)
      }
    }
  }

  /** One message has one id, and an id one message. */
  #identify(id: string, n: number): void {
    const known = this.#numberOfId.get(id)
    if (known !== undefined && known !== n) this.#violated(`id ${id} stands for messages ${known} and ${n}`)
    const other = this.#idOfNumber.get(n)
    if (other !== undefined && other !== id) this.#violated(`message ${n} has the ids ${other} and ${id}`)
    this.#numberOfId.set(id, n)
    this.#idOfNumber.set(n, id)
  }

  /** The message before `n` of its key that is known to be stored in the same topic. */
  #previousStored(n: number): number | undefined {
    const { topic } = this.#stored.get(n) ?? { topic: 'main' }
    for (let before = n - keys; before >= 0; before -= keys) {
      const place = this.#stored.get(before)
      if (place?.topic === topic) return before
    }
    return undefined
  }

  #group(name: string): GroupHistory {
    let group = this.#groups.get(name)
    if (group === undefined) {
      group = {
        deliveries: new Map(),
        done: new Set(),
        durable: new Set(),
        doneInRound: [],
        running: new Map(),
      }
      this.#groups.set(name, group)
    }
    return group
  }

  #trim(topic: string, partition: number): { begun: number; acknowledged: number } {
    const name = `${topic}/${partition}`
    let trim = this.#trims.get(name)
    if (trim === undefined) this.#trims.set(name, (trim = { begun: 0, acknowledged: 0 }))
    return trim
  }

  #violated(what: string): void {
    this.violations.push(`round ${this.#round}: ${what}`)
  }
}

/** Keys of the messages that the child sends. */
const keys = 23

function keyOf(n: number): string {
  return `k${n % keys}`
}

function placesIn(state: FoundState): Map<number, Place> {
  const places = new Map<number, Place>()
  for (const [topic, { messages }] of Object.entries(state.topics)) {
    for (const [partition, offset, , n] of messages) places.set(n, { topic, partition, offset })
  }
  return places
}
