import { describe, expect, test } from 'vitest'
import { defaultInvariants } from '../../../../src/testing/invariants/all.ts'
import type { EffectSource, HistoryEvents } from '../../../../src/testing/history.ts'
import { Story } from './story.ts'

type State = HistoryEvents['snapshot']['state']

/** A story of one group whose handler sends to partition 1 of its own topic, and counts in a store. */
class Booking extends Story {
  /** Handles an offset, and has its effects taken: one output, and what it counted. */
  book(offset: number, count?: number): { settlement: number; send: number } {
    this.handle([offset])
    const settlement = this.settle([offset, offset + 1])
    const of = { settlement }
    const send = this.output(of)
    this.take(of, [send], count)
    return { settlement, send }
  }

  output(of: EffectSource): number {
    return this.send('out', { partition: 1, of })
  }

  /** Outputs that the log has from now on. */
  take(of: EffectSource, sends: readonly number[], count?: number): this {
    const log = this.logs[1]!
    const outputs = sends.map((send) => {
      const offset = log.push({ key: 'out', value: { id: send } }) - 1
      return { send, topic: 'orders', partition: 1, offset, key: 'out' }
    })
    if (count !== undefined) this.add('state', { store: 'counts', key: 'a', value: count, of })
    return this.add('accepted', { of, outputs })
  }

  begun(transaction: number, sends: readonly number[] = []): this {
    return this.add('transaction:begun', { transaction, acks: 'flushed', sends, settlements: [] })
  }

  /** A look at the store after a crash: so many outputs, and the position of the group. */
  found(position: number, outputs: number, state?: State): this {
    const progress = [{ group: 'billing', topic: 'orders', partition: 0, position, finishedAbove: [] }]
    const logs = this.logs.map((log, partition) => {
      const records = log.slice(0, partition === 1 ? outputs : undefined).map((kept, offset) => ({ offset, ...kept }))
      return { topic: 'orders', partition, start: 0, end: records.length, records }
    })
    return this.crash().add('snapshot', { reason: 'restart', logs, progress, state })
  }
}

const counted = (value: number): State => [{ store: 'counts', key: 'a', value }]

test('TEST-151: invariants of effects are among those that are always checked', () => {
  const names = defaultInvariants.map(({ name }) => name)
  expect(names).toContain('atomic-outputs')
  expect(names).toContain('effectively-once')
})

describe('atomic-outputs', () => {
  test('TEST-152: outputs are there exactly when their message is finished', () => {
    for (const there of [0, 1]) {
      const story = new Booking().begin()
      story.book(0)
      story.found(there, there).isLegal()
    }
    const early = new Booking().begin()
    const { settlement } = early.book(0)
    early.found(0, 1)
    const torn = `settlement ${settlement} is torn: its output orders[1]@0 is in the log, but orders[0]@0 is not finished for billing`
    early.breaks('atomic-outputs', torn)
    const late = new Booking().begin()
    const { settlement: other } = late.book(0)
    late.found(1, 0)
    const lost = `settlement ${other} is torn: orders[0]@0 is finished for billing, but its output orders[1]@0 is not in the log`
    late.breaks('atomic-outputs', lost)
  })

  test('TEST-152: what a seek or retention finished says nothing of effects', () => {
    const moved = new Booking().begin()
    moved.book(0)
    moved.seek(0).found(0, 1)
    moved.isLegal()
    const trimmed = new Booking().begin()
    trimmed.book(0)
    trimmed.add('gap', { group: 'billing', topic: 'orders', partition: 0, from: 0, to: 1, count: 1 }).found(1, 0)
    trimmed.isLegal()
  })

  test('TEST-153: the sends of a transaction are all there, or none', () => {
    for (const there of [0, 1, 2]) {
      const story = new Booking().begin()
      const of = { transaction: 7 }
      const sends = [story.output(of), story.output(of)]
      story.begun(7, sends).take(of, sends).found(0, there)
      if (there !== 1) story.isLegal()
      else {
        const torn = 'its output orders[1]@0 is in the log, but its output orders[1]@1 is not in the log'
        story.breaks('atomic-outputs', `transaction 7 is torn: ${torn}`)
      }
    }
  })

  test('TEST-154: nothing of what was refused is there, and no output without a finished message', () => {
    const story = new Booking().begin()
    const of = { transaction: 7 }
    const send = story.output(of)
    story.begun(7, [send])
    story.add('refused', { send, topic: 'orders', partition: 1, key: 'out', error: { code: 'CONFLICT' } })
    story.add('transaction:refused', { transaction: 7, error: { code: 'CONFLICT' } })
    story.logs[1]!.push({ key: 'out', value: { id: send } })
    story.found(0, 1)
    story.breaks('atomic-outputs', 'transaction 7 was refused, but its output orders[1]@0 is in the log')

    const idle = new Booking().begin()
    const settlement = idle.settleAll([])
    idle.take({ settlement }, [idle.output({ settlement })])
    const text = `settlement ${settlement} sent orders[1]@0, but it finishes no message`
    idle.breaks('atomic-outputs', text)
  })
})

describe('effectively-once', () => {
  test('TEST-155: a message has its effects once, unless a crash took them or the group was moved', () => {
    const twice = new Booking().begin()
    const first = twice.book(0).settlement
    const second = twice.book(0).settlement
    const text = `billing: orders[0]@0 had its effects by settlement ${first}, and again by settlement ${second}`
    twice.breaks('effectively-once', text)

    const crashed = new Booking().begin()
    crashed.book(0, 1)
    crashed.found(0, 0, [])
    crashed.logs[1]!.length = 0
    crashed.join().grant(0).book(0, 1)
    crashed.isLegal()

    const moved = new Booking().begin()
    moved.settled(moved.book(0).settlement, 1).release().seek(0).grant(0)
    moved.book(0)
    moved.isLegal()
  })

  test('TEST-156: stores hold what the accepted effects left at some moment', () => {
    for (const [position, found] of [
      [0, []],
      [1, counted(1)],
      [2, counted(2)],
    ] as const) {
      const story = new Booking().begin()
      story.book(0, 1)
      story.book(1, 2)
      story.found(position, position, found).isLegal()
    }
    const lost = new Booking().begin()
    lost.settled(lost.book(0, 1).settlement, 1)
    lost.found(1, 1, [])
    lost.breaks('effectively-once', 'the store has lost "a" of store counts')
    const early = new Booking().begin()
    early.book(0, 1)
    early.found(0, 0, counted(1))
    early.breaks('effectively-once', 'the store has "a" of store counts, which no effect wrote')
    const other = new Booking().begin()
    other.settled(other.book(0, 1).settlement, 1)
    other.found(1, 1, counted(7))
    other.breaks('effectively-once', 'the store has another value for "a" of store counts than was written last')
  })
})
