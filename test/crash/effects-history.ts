/**
 * What a line of the journal says, by its first word.
 *
 * R round · S n (a send or a transaction begins) · A n partition offset (the send was acknowledged) · T n partition offset
 * (the transaction was) · H group partition offset key n attempt call (a handler begins) · D group partition offset (it ended
 * well) · E group partition offset (it failed)
 */
type Line = readonly string[]

/** Everything that a life of the queue found in the store. */
export interface FoundEffects {
  readonly round: number
  readonly topics: Readonly<Record<string, readonly FoundMessage[]>>
  readonly stores: Readonly<Record<string, readonly { readonly key: string; readonly value: unknown }[]>>
  readonly groups: Readonly<Record<string, readonly FoundProgress[]>>
}

export interface FoundMessage {
  readonly partition: number
  readonly offset: number
  readonly key: string
  readonly value: {
    readonly n: number
    readonly isDoomed?: boolean
    /** Of an output: the message whose handler sent it. */
    readonly partition?: number
    readonly offset?: number
  }
  /** Of a dead letter: where it came from. */
  readonly letter?: { readonly partition: number; readonly offset: number }
}

export interface FoundProgress {
  readonly topic: string
  readonly partition: number
  readonly position: number
  readonly finishedAbove: number
}

/** The groups: what they read, and where their outputs go. */
const groups: Readonly<Record<string, { readonly topic: string; readonly outputs?: string }>> = {
  book: { topic: 'orders', outputs: 'ledger' },
  bill: { topic: 'orders', outputs: 'audit' },
  post: { topic: 'ledger' },
}

interface Running {
  readonly place: string
  readonly call: string
}

/**
 * Reads the journal of a queue whose handlers have effects, and what each life of it found: nothing may be lost, done
 * twice, torn or out of order. Pure: lines and findings in, violations out.
 */
export class EffectsHistory {
  readonly violations: string[] = []
  readonly counts = { acknowledged: 0, transactions: 0, handled: 0, repeated: 0, effects: 0, letters: 0, rounds: 0 }
  #round = 0
  /** Of the first group, as they were found last. */
  #effects = 0
  #letters = 0
  /** Where the acknowledged orders are, by number. */
  readonly #acknowledged = new Map<number, string>()
  /** Numbers whose transaction was acknowledged. */
  readonly #transactions = new Set<number>()
  /** By group, partition and key: what runs. */
  readonly #running = new Map<string, Running>()
  /** By the same: the last offset that ended well in this life. */
  readonly #ended = new Map<string, number>()
  /** That, of each place that a group was ever handed. */
  readonly #lanes = new Map<string, string>()

  line(text: string): void {
    const [word, ...rest] = text.split(' ')
    if (word === 'R') this.#begin(Number(rest[0]))
    else if (word === 'A' || word === 'T') this.#acknowledge(word, rest)
    else if (word === 'H') this.#handOut(rest)
    else if (word === 'D' || word === 'E') this.#end(word, rest)
    else if (word !== 'S') this.#violated(`unknown line: ${text}`)
  }

  /** Judges what is in the store at one moment; between lives, or at the end, where everything has to be done. */
  check(found: FoundEffects, isEnd = false): void {
    this.#checkSends(found)
    for (const [group, { topic, outputs }] of Object.entries(groups)) {
      const effects = this.#effectsOf(found, group, topic)
      if (outputs !== undefined) this.#checkOutputs(group, found.topics[outputs]!, outputs, effects)
      this.#checkProgress(found, group, topic, effects, isEnd)
    }
    this.#checkAccounts(found)
  }

  /** The store is done with: the next life begins with an empty one. */
  endStore(): void {
    for (const known of [this.#acknowledged, this.#transactions, this.#lanes]) known.clear()
    this.counts.effects += this.#effects
    this.counts.letters += this.#letters
    this.#effects = 0
    this.#letters = 0
  }

  #begin(round: number): void {
    this.#round = round
    this.counts.rounds++
    this.#running.clear()
    this.#ended.clear()
  }

  #acknowledge(word: string, [n, partition, offset]: Line): void {
    if (word === 'A') this.counts.acknowledged++
    else this.counts.transactions++
    if (word === 'T') this.#transactions.add(Number(n))
    this.#acknowledged.set(Number(n), `${partition}/${offset}`)
  }

  #handOut([group, partition, offset, key, n, attempt, call]: Line): void {
    const place = `${partition}/${offset}`
    const lane = `${group} ${partition} ${key}`
    const text = `group ${group} was handed ${place} (message ${n} of ${key}, attempt ${attempt})`
    this.counts.handled++
    if (this.#lanes.has(`${group} ${place}`) && attempt === '1') this.counts.repeated++
    this.#lanes.set(`${group} ${place}`, lane)
    const running = this.#running.get(lane)
    if (running !== undefined && running.call !== call) this.#violated(`${text} while ${running.place} ran`)
    if (Number(offset) <= (this.#ended.get(lane) ?? -1)) this.#violated(`${text} after a later one, or again`)
    this.#running.set(lane, { place, call: call! })
  }

  #end(word: string, [group, partition, offset]: Line): void {
    const place = `${partition}/${offset}`
    const lane = this.#lanes.get(`${group} ${place}`)
    if (lane === undefined) return this.#violated(`group ${group} ended ${place}, which did not begin`)
    // Of an array several may be of one key; they end together, and the last of them is what ran.
    if (this.#running.get(lane)?.place === place) this.#running.delete(lane)
    if (word === 'D') this.#ended.set(lane, Number(offset))
  }

  #checkSends(found: FoundEffects): void {
    const orders = this.#placesByNumber(found, 'orders')
    const payments = this.#placesByNumber(found, 'payments')
    const outbox = found.stores['outbox']!.filter(({ key }) => key !== 'total')
    const rows = new Set(outbox.map(({ key }) => Number(key)))
    for (const [n, place] of this.#acknowledged) {
      const at = orders.get(n)
      if (at !== place) this.#violated(`message ${n} was acknowledged at ${place} and is ${at ?? 'lost'}`)
    }
    for (const n of new Set([...this.#transactions, ...rows, ...payments.keys()])) {
      const there = [orders, payments, rows].filter((part) => part.has(n)).length
      if (there !== 3) this.#violated(`transaction ${n} is torn: ${there} of its 3 parts are there`)
    }
    const total = found.stores['outbox']!.find(({ key }) => key === 'total')?.value ?? 0
    if (total !== rows.size)
      this.#violated(`${rows.size} transactions took effect and counted ${JSON.stringify(total)}`)
  }

  #placesByNumber(found: FoundEffects, topic: string): Map<number, string> {
    const places = new Map<number, string>()
    for (const { partition, offset, value } of found.topics[topic]!) {
      if (places.has(value.n)) this.#violated(`message ${value.n} is in ${topic} twice`)
      places.set(value.n, `${partition}/${offset}`)
    }
    return places
  }

  /** The places whose effect is in the group's store, each of them once and of a message that is there. */
  #effectsOf(found: FoundEffects, group: string, topic: string): Map<string, FoundMessage> {
    const messages = new Map(found.topics[topic]!.map((message) => [placeOf(message), message]))
    const effects = new Map<string, FoundMessage>()
    for (const { key, value } of found.stores[group]!) {
      const [partition, offset] = key.split('/').map(Number)
      const place = `${partition}/${offset}`
      const { n, times } = value as { n: number; times: number }
      const message = messages.get(place)
      if (times !== 1) this.#violated(`group ${group} did its work for ${place} ${times} times`)
      if (message?.value.n !== n) this.#violated(`group ${group} did work for ${place}, which is not there`)
      else effects.set(place, message)
      if (message?.value.isDoomed && group !== 'post') this.#violated(`the effect of ${place}, which failed, is there`)
    }
    if (group === 'book') this.#effects = effects.size
    return effects
  }

  /** Each effect has its output, and none has two; those of a key are in the order of what they came from. */
  #checkOutputs(
    group: string,
    outputs: readonly FoundMessage[],
    name: string,
    effects: Map<string, FoundMessage>,
  ): void {
    const sources = new Set<string>()
    const last = new Map<string, number>()
    for (const { key, value } of outputs) {
      const source = `${value.partition}/${value.offset}`
      if (sources.has(source)) this.#violated(`group ${group} sent to ${name} twice for ${source}`)
      sources.add(source)
      if (!effects.has(source))
        this.#violated(`group ${group} sent to ${name} for ${source}, and its effect is not there`)
      if (value.offset! < (last.get(key) ?? -1)) this.#violated(`${name} has ${source} of ${key} after a later one`)
      last.set(key, value.offset!)
    }
    for (const place of effects.keys()) {
      if (!sources.has(place)) this.#violated(`group ${group} has the effect of ${place} and sent nothing to ${name}`)
    }
  }

  /** What is finished is what has its effect, or its dead letter: exactly. */
  #checkProgress(
    found: FoundEffects,
    group: string,
    topic: string,
    effects: Map<string, FoundMessage>,
    isEnd: boolean,
  ): void {
    const letters = this.#lettersOf(found, group, topic, effects)
    for (const { partition, position, finishedAbove } of found.groups[group] ?? []) {
      const messages = found.topics[topic]!.filter((message) => message.partition === partition)
      const isDone = (message: FoundMessage): boolean => {
        const place = placeOf(message)
        return effects.has(place) || letters.has(place)
      }
      const at = `group ${group} in ${topic}/${partition}`
      let above = 0
      for (const message of messages) {
        const { offset } = message
        if (offset < position && !isDone(message)) {
          this.#violated(`${at}: ${offset} is finished at ${position} and its effect is not there`)
        }
        if (offset === position && isDone(message))
          this.#violated(`${at}: the effect of ${offset} is there, unfinished`)
        if (offset > position && isDone(message)) above++
      }
      if (finishedAbove !== above) {
        this.#violated(`${at}: ${finishedAbove} are finished above ${position}, and ${above} have their effect`)
      }
      if (isEnd && position !== messages.length) this.#violated(`${at}: ended at ${position} of ${messages.length}`)
    }
  }

  /** The places that have a dead letter. */
  #lettersOf(found: FoundEffects, group: string, topic: string, effects: Map<string, FoundMessage>): Set<string> {
    const messages = found.topics[`${topic}.${group}.dlq`] ?? []
    const letters = new Set<string>()
    for (const { letter, value } of messages) {
      const place = `${letter?.partition}/${letter?.offset}`
      if (letters.has(place)) this.#violated(`group ${group} has two dead letters of ${place}`)
      if (effects.has(place)) this.#violated(`group ${group} has the effect and a dead letter of ${place}`)
      if (!value.isDoomed) this.#violated(`group ${group} gave up ${place}, which does not always fail`)
      letters.add(place)
    }
    if (group === 'book') this.#letters = letters.size
    return letters
  }

  #checkAccounts(found: FoundEffects): void {
    const expected = new Map<string, number>()
    for (const { value } of found.stores['book']!) {
      const { key } = value as { key: string }
      expected.set(key, (expected.get(key) ?? 0) + 1)
    }
    for (const { key, value } of found.stores['accounts']!) {
      const { count, inOrder } = value as { count: number; inOrder: boolean }
      if (!inOrder) this.#violated(`the account of ${key} saw its messages out of order`)
      if (count !== expected.get(key)) this.#violated(`the account of ${key} has ${count}, not ${expected.get(key)}`)
      expected.delete(key)
    }
    for (const key of expected.keys()) this.#violated(`there is no account of ${key}`)
  }

  #violated(what: string): void {
    this.violations.push(`round ${this.#round}: ${what}`)
  }
}

function placeOf({ partition, offset }: { readonly partition: number; readonly offset: number }): string {
  return `${partition}/${offset}`
}
