import assert from 'node:assert/strict'
import type {
  Assignment,
  Broker,
  BrokerTopic,
  EncodedRecord,
  MemberListener,
  Membership,
  StartPosition,
} from '../../contracts/broker.ts'
import type { QueueError } from '../../errors.ts'
import type { CaseTemplate } from './conformance.ts'

/**
 * What a broker may be able to do beyond the contract; the first three are those of `BrokerCapabilities`.
 *
 * - `durable`: what was settled is there after {@link BrokerUnderTest.reopen}, and survives power loss
 * - `exactProgress`: the finished offsets above the position are kept
 * - `effects`: outputs and parts commit together with acknowledgements
 * - `crash`: {@link BrokerUnderTest.crash} works
 */
export type BrokerFeature = 'durable' | 'exactProgress' | 'effects' | 'crash'

/** All of them, to notice one that is misspelt. */
export const brokerFeatures: readonly BrokerFeature[] = ['durable', 'exactProgress', 'effects', 'crash']

/** A broker under test and what belongs to it. */
export interface BrokerUnderTest {
  readonly broker: Broker
  /** Closes the broker and opens what it kept. Called of a `durable` one only. */
  reopen(): Promise<Broker>
  /** Ends the broker without a word, as a process dies, and opens what it left; needed for `crash`. */
  crash?(): Promise<Broker>
  /** Releases everything. */
  dispose(): Promise<void>
}

/** One case of the suite. */
export type BrokerCase = CaseTemplate<BrokerUnderTest, BrokerFeature>

/** A record of a text topic. */
export function record(value: string, partition = 0, key?: string, headers?: string): EncodedRecord {
  return { partition, key, value, start: 0, end: value.length, headers }
}

/** Appends values to one partition, one after the other, and returns the offset behind them. */
export async function appendAll(topic: BrokerTopic, partition: number, values: readonly string[]): Promise<number> {
  let next = 0
  for (const value of values) next = (await topic.append(record(value, partition), { acks: 'flushed' })).offset + 1
  return next
}

/** Values of a partition from an explicit offset to its end, in order. */
export async function valuesFrom(topic: BrokerTopic, partition: number, from: number): Promise<string[]> {
  const values: string[] = []
  for (let offset = from; ;) {
    const result = await topic.fetch(partition, offset)
    if (result.kind === 'empty') return values
    if (result.kind === 'gap') assert.fail(`offset ${offset} is a gap up to ${result.start}`)
    const { batch, index } = result
    for (let i = index; i < batch.count; i++) values.push(batch.valueBytesAt(i).toString())
    assert.ok(batch.nextOffset > offset, 'a fetch has to go on')
    offset = batch.nextOffset
  }
}

/** Matches an error by its code. */
export function withCode(code: string): { code: string } {
  return { code }
}

/** A member of a group that does what a case tells it and writes down what it is told. */
export class TestMember implements MemberListener {
  /** Partitions that it may hand out, by number. */
  readonly owned: Map<number, Assignment> = new Map()
  readonly log: string[] = []
  lostWith: QueueError | undefined
  membership!: Membership
  /** Awaited before a partition is given back. */
  release: Promise<void> = Promise.resolve()
  #wake: () => void = () => {}

  /** Joins a group. */
  static async join(
    broker: Broker,
    group: string,
    topics: readonly BrokerTopic[],
    from?: StartPosition,
  ): Promise<TestMember> {
    const member = new TestMember()
    member.membership = await broker.join({ group, topics, from, listener: member })
    return member
  }

  assigned(assignments: readonly Assignment[]): void {
    for (const assignment of assignments) {
      assert.ok(!this.owned.has(assignment.partition), `partition ${assignment.partition} was granted twice`)
      this.owned.set(assignment.partition, assignment)
      this.log.push(`+${assignment.partition}`)
    }
    this.#wake()
  }

  async revoked(assignments: readonly Assignment[]): Promise<void> {
    for (const { partition } of assignments) this.log.push(`-${partition}`)
    this.#wake()
    await this.release
    for (const { partition } of assignments) this.owned.delete(partition)
    this.#wake()
  }

  lost(error: QueueError): void {
    this.lostWith = error
    this.owned.clear()
    this.#wake()
  }

  get partitions(): number[] {
    return [...this.owned.keys()].sort((a, b) => a - b)
  }

  /** Resolves when the member owns exactly so many partitions; a runner's timeout ends a wait in vain. */
  async owns(count: number): Promise<void> {
    await this.until(() => this.owned.size === count)
  }

  async until(holds: () => boolean): Promise<void> {
    while (!holds()) await new Promise<void>((resolve) => (this.#wake = resolve))
  }

  /** Settles finished offsets of one partition: first, end, first, end, … */
  settle(partition: number, ...finished: number[]): Promise<void> {
    return this.membership.settle({ partitions: [{ assignment: this.owned.get(partition)!, finished }] })
  }
}
