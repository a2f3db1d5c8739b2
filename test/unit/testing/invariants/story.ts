import { expect } from 'vitest'
import { defaultInvariants } from '../../../../src/testing/invariants/all.ts'
import { InvariantChecker, type Invariant } from '../../../../src/testing/invariants/invariant.ts'
import { History, type Delivery, type HistoryEvents } from '../../../../src/testing/history.ts'
import type { LogSnapshot } from '../../../../src/testing/log-snapshot.ts'

interface Kept {
  readonly key: string | undefined
  readonly value: unknown
}

interface Where {
  readonly partition?: number
  readonly member?: string
}

interface Handed extends Where {
  readonly attempt?: number
  readonly call?: number
  readonly isDuplicate?: boolean
  readonly fence?: number
  readonly key?: string
}

type Failed = HistoryEvents['settle']['partitions'][number]['failed'][number]

const topic = 'orders'
const group = 'billing'
const member = 'b-1'

/** Tells a history of one topic and one group, with as few words as possible. */
export class Story {
  /** The log of each partition as it ought to be. */
  readonly logs: Kept[][] = [[], []]
  at = 0
  readonly #history = new History(() => this.at)
  readonly #checker: InvariantChecker
  readonly #deliveries = new Map<string, Delivery>()
  readonly #fences = new Map<string, number>()
  #fence = 100
  #number = 0

  constructor(invariants: readonly Invariant[] = defaultInvariants) {
    this.#checker = new InvariantChecker(invariants)
    this.#history.listen(this.#checker.observe)
  }

  add<K extends keyof HistoryEvents>(kind: K, facts: HistoryEvents[K]): this {
    this.#history.add(kind, facts)
    return this
  }

  /** Nothing was wrong. */
  isLegal(): void {
    expect(this.#checker.violations).toEqual([])
  }

  /** That invariant found this, first of all. */
  breaks(invariant: string, text: string): void {
    expect(this.#checker.violations.find((violation) => violation.invariant === invariant)?.text).toBe(text)
  }

  send(key: string | undefined, more: Partial<HistoryEvents['send']> = {}): number {
    const send = ++this.#number
    const value = { id: send }
    this.add('send', { send, topic, partition: 0, key, value, headers: {}, batch: undefined, acks: 'flushed', ...more })
    return send
  }

  /** The log has the message, and its sender is told. */
  ack(send: number, key: string | undefined, more: Partial<HistoryEvents['acked']> = {}): number {
    const { partition = 0 } = more
    const log = this.logs[partition]!
    const offset = log.length
    log.push({ key, value: { id: send } })
    this.add('acked', { send, topic, partition, offset, key, acks: 'flushed', ...more })
    return offset
  }

  /** Messages with these keys are sent and acknowledged. */
  sent(keys: readonly (string | undefined)[], more: { partition?: number; acks?: 'flushed' | 'buffered' } = {}): this {
    for (const key of keys) this.ack(this.send(key, more), key, more)
    return this
  }

  join(more: Partial<HistoryEvents['joined']> = {}): this {
    const limits = { ordering: 'key', concurrency: 4, attempts: 3, batchMax: undefined } as const
    return this.add('joined', { group, member, topics: [topic], ...limits, ...more })
  }

  grant(position = 0, more: Where & { fence?: number } = {}): this {
    const fence = more.fence ?? ++this.#fence
    this.#fence = Math.max(this.#fence, fence)
    const facts = { group, topic, member, partition: 0, fence, position, ...more }
    this.#fences.set(`${facts.member} ${facts.partition}`, fence)
    return this.add('granted', facts)
  }

  /** Joins with four messages of two keys in the log. */
  begin(more: Partial<HistoryEvents['joined']> = {}): this {
    return this.sent(['a', 'b', 'a', 'b']).join(more).grant()
  }

  release(more: Where & { fence?: number } = {}): this {
    return this.add('released', { group, topic, ...this.#owned(more) })
  }

  deliver(offset: number, more: Handed = {}): this {
    const key = this.logs[more.partition ?? 0]![offset]?.key
    const place = { topic, partition: 0, offset, key, group, member }
    const delivery = {
      ...place,
      call: ++this.#number,
      attempt: 1,
      isDuplicate: false,
      ...this.#owned(more),
      ...more,
    }
    this.#deliveries.set(`${delivery.member} ${delivery.partition} ${offset}`, delivery)
    return this.add('deliver', delivery)
  }

  start(offset: number, value: unknown, more: Where = {}): this {
    return this.add('start', { ...this.#delivery(offset, more), value })
  }

  done(offset: number, more: Where = {}): this {
    return this.add('done', this.#delivery(offset, more))
  }

  error(offset: number, more: Where = {}): this {
    return this.add('error', { ...this.#delivery(offset, more), error: new Error('no') })
  }

  /** The handler fails, and the engine decides. */
  fail(offset: number, retryInMs: number | undefined, more: Where = {}): this {
    const { partition, key, attempt } = this.#delivery(offset, more)
    const error = new Error('no')
    this.error(offset, more)
    return this.add('failed', { topic, partition, offset, key, group, attempt, error, retryInMs })
  }

  handle(offsets: readonly number[], more: Where = {}): this {
    for (const offset of offsets) {
      const { value } = this.logs[more.partition ?? 0]![offset]!
      this.deliver(offset, more).start(offset, value, more).done(offset, more)
    }
    return this
  }

  /** A settlement begins; finish it with {@link Story.settled}. */
  settle(finished: readonly number[], more: Where & { fence?: number; failed?: readonly Failed[] } = {}): number {
    const { partition, fence, member: by } = this.#owned(more)
    return this.settleAll([{ topic, partition, fence, finished, failed: more.failed ?? [] }], by)
  }

  settleAll(partitions: HistoryEvents['settle']['partitions'], by: string = member): number {
    const settlement = ++this.#number
    this.add('settle', { group, member: by, settlement, partitions })
    return settlement
  }

  settled(settlement: number, position: number, more: Where = {}): this {
    const { partition, member } = this.#owned(more)
    return this.add('settled', { group, member, settlement, positions: [{ topic, partition, position }] })
  }

  unsettled(settlement: number, code: string): this {
    return this.add('unsettled', { group, member, settlement, error: { code } })
  }

  /** The messages are handled and their settlement is durable. */
  finish(from: number, to: number, more: Where = {}): this {
    const offsets = Array.from({ length: to - from }, (_, i) => from + i)
    return this.handle(offsets, more).settled(this.settle([from, to], more), to, more)
  }

  seek(position: number, partition = 0): this {
    return this.add('sought', { group, topic, partition, position })
  }

  crash(power = false): this {
    return this.add('crash', { power, point: 'deliver' })
  }

  leave(abandoned: boolean, by: string = member): this {
    return this.add('left', { group, member: by, abandoned })
  }

  lose(by: string = member): this {
    return this.add('lost', { group, member: by, error: new Error('GAP') })
  }

  trim(start: number): this {
    return this.add('trimmed', { topic, partition: 0, start })
  }

  /** What the store holds of partition 0: the log up to `end`, and the group's progress. */
  snapshot(
    reason: 'restart' | 'end',
    progress: { position: number; finishedAbove?: number[] } | undefined,
    bounds: { start?: number; end?: number } = {},
  ): this {
    const { start = 0, end = this.logs[0]!.length } = bounds
    const records = this.logs[0]!.slice(start, end).map((kept, i) => ({ offset: start + i, ...kept }))
    const other = this.logs[1]!.map((kept, offset) => ({ offset, ...kept }))
    const logs: LogSnapshot[] = [{ topic, partition: 0, start, end, records }]
    if (other.length > 0) logs.push({ topic, partition: 1, start: 0, end: other.length, records: other })
    const places = progress === undefined ? [] : [{ group, topic, partition: 0, finishedAbove: [], ...progress }]
    return this.add('snapshot', { reason, logs, progress: places })
  }

  /** The next life begins with what the store holds; what is beyond `end` is gone. */
  restart(
    progress: { position: number; finishedAbove?: number[] } | undefined,
    bounds: { start?: number; end?: number } = {},
  ): this {
    this.#history.life++
    if (bounds.end !== undefined) this.logs[0]!.length = bounds.end
    return this.snapshot('restart', progress, bounds)
  }

  #owned(more: Where & { fence?: number }): { partition: number; member: string; fence: number } {
    const place = { partition: more.partition ?? 0, member: more.member ?? member }
    return { ...place, fence: more.fence ?? this.#fences.get(`${place.member} ${place.partition}`) ?? 0 }
  }

  #delivery(offset: number, more: Where): Delivery {
    return this.#deliveries.get(`${more.member ?? member} ${more.partition ?? 0} ${offset}`)!
  }
}
