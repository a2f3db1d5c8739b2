import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { PartitionLog } from '../../../src/log/partition-log.ts'
import { maxBatchBytes } from '../../../src/log/partition-log.ts'
import { damageOf } from '../../../src/log/record-batch.ts'
import { runs } from '../../runs.ts'
import { append, LogScene, readFrom } from './log-scene.ts'

const numbered = (count: number, from = 0): string[] => Array.from({ length: count }, (_, i) => `m${from + i}`)

/** Appends one message a batch. */
async function appendBatches(scene: LogScene, log: PartitionLog, values: readonly string[]): Promise<void> {
  for (const value of values) {
    append(log, value)
    await scene.runtime.settle()
  }
}

describe('a partition log', () => {
  test('gives dense offsets in the order of the calls and reads them back', async () => {
    const scene = new LogScene()
    const log = scene.log()
    expect(['a', 'b', 'c'].map((value) => append(log, value))).toEqual([0, 1, 2])
    await scene.runtime.settle()
    expect([append(log, 'd'), log.end]).toEqual([3, 4])
    await scene.runtime.settle()
    expect(readFrom(log, 0)).toEqual(['a', 'b', 'c', 'd'])
    expect(readFrom(log, 2)).toEqual(['c', 'd'])
    expect(log.offsets).toEqual({ start: 0, end: 4 })
    expect(log.fetch(4)).toEqual({ kind: 'empty' })
    expect(() => log.fetch(5)).toThrow(
      expect.objectContaining({ code: 'OFFSET_OUT_OF_RANGE', offset: 5, from: 0, to: 4 }),
    )
  })

  test('seals a batch before it grows beyond its limit', async () => {
    const scene = new LogScene()
    const log = scene.log()
    const value = 'x'.repeat(10_000)
    for (let i = 0; i < 30; i++) append(log, value)
    append(log, 'y'.repeat(3 * maxBatchBytes))
    await scene.runtime.settle()
    expect(readFrom(log, 0).map(({ length }) => length)).toEqual([
      ...new Array<number>(30).fill(10_000),
      3 * maxBatchBytes,
    ])
    const sizes = log.oldest(100).map(({ bytes }) => bytes)
    expect(sizes.slice(0, -1).every((bytes) => bytes <= maxBatchBytes + 1000)).toBe(true)
    expect(scene.storedBatches()).toBe(sizes.length)
  })

  test('keeps bytes between texts as they are, whatever they are', async () => {
    const scene = new LogScene()
    const log = scene.log()
    const odd = Buffer.from([0xff, 0x2c, 0x00])
    const add = (value: string | Uint8Array): number =>
      log.append({ key: undefined, value, start: 0, end: value.length, headers: undefined }, false)
    expect(['a', 'b', odd, odd, 'c'].map(add)).toEqual([0, 1, 2, 3, 4])
    await scene.runtime.settle()
    scene.crash('power')
    const again = scene.log()
    const bytesAt = (offset: number): string => {
      const result = again.fetch(offset)
      return result.kind === 'records' ? result.batch.valueBytesAt(result.index).toString('latin1') : result.kind
    }
    expect([0, 1, 2, 3, 4].map(bytesAt)).toEqual(['a', 'b', odd.toString('latin1'), odd.toString('latin1'), 'c'])
    expect(scene.storedBatches()).toBe(3)
  })

  test('DURA-22: a flushed message can not be read before its commit is on disk', async () => {
    const scene = new LogScene()
    const log = scene.log()
    let woken = 0
    log.watch(() => void woken++)
    append(log, 'a')
    expect([log.offsets.end, log.end, log.fetch(0).kind]).toEqual([0, 1, 'empty'])
    await Promise.resolve()
    await Promise.resolve()
    expect(log.fetch(0).kind, 'the commit is made, but not flushed').toBe('empty')
    expect(woken).toBe(0)
    await scene.runtime.settle()
    expect(readFrom(log, 0)).toEqual(['a'])
    expect(woken).toBe(1)
  })

  test('DURA-23: a buffered message is read at once by who waits for it, also while no commit can start', async () => {
    const scene = new LogScene()
    const log = scene.log()
    log.watch(() => {})
    append(log, 'a', 'buffered')
    for (let i = 0; i < 4; i++) await Promise.resolve()
    expect(readFrom(log, 0)).toEqual(['a'])
    append(log, 'b', 'buffered')
    for (let i = 0; i < 4; i++) await Promise.resolve()
    append(log, 'c', 'buffered')
    for (let i = 0; i < 4; i++) await Promise.resolve()
    expect(readFrom(log, 0)).toEqual(['a', 'b', 'c'])
    expect(scene.storedBatches()).toBe(0)
    await scene.runtime.settle()
    expect(readFrom(log, 0)).toEqual(['a', 'b', 'c'])
  })

  test('DURA-24: a buffered message behind a flushed one waits for it', async () => {
    const scene = new LogScene()
    const log = scene.log()
    log.watch(() => {})
    append(log, 'flushed')
    append(log, 'buffered in the same batch', 'buffered')
    for (let i = 0; i < 4; i++) await Promise.resolve()
    append(log, 'buffered in the next batch', 'buffered')
    for (let i = 0; i < 4; i++) await Promise.resolve()
    expect([log.offsets.end, log.end]).toEqual([0, 3])
    await scene.runtime.settle()
    expect(readFrom(log, 0)).toEqual(['flushed', 'buffered in the same batch', 'buffered in the next batch'])
  })

  test('the end that readers see never goes back and never passes an unflushed message, whatever the mix', async () => {
    const step = fc.record({
      acks: fc.constantFrom('flushed' as const, 'buffered' as const),
      hops: fc.nat(5),
      settle: fc.nat(4),
      size: fc.constantFrom(1, 100, 70_000),
    })
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 25 }),
        fc.constantFrom(1, 200_000, 2 ** 24),
        async (steps, tailBytes) => {
          const scene = new LogScene({ tailBytes })
          const log = scene.log()
          log.watch(() => {})
          let flushedThrough = 0
          let seen = 0
          const sent: { acks: string; value: string }[] = []
          const check = (): void => {
            const { end } = log.offsets
            expect(end).toBeGreaterThanOrEqual(seen)
            seen = end
            const unflushed = sent.findIndex(({ acks }, i) => i >= flushedThrough && acks === 'flushed')
            if (unflushed >= 0) expect(end).toBeLessThanOrEqual(unflushed)
          }
          for (const { acks, hops, settle, size } of steps) {
            const value = `${sent.length}`.padEnd(size, '.')
            append(log, value, acks)
            sent.push({ acks, value })
            const waited = new Promise<void>((resolve, reject) => scene.context.commit.wait(resolve, reject, undefined))
            const through = sent.length
            void waited.then(() => (flushedThrough = Math.max(flushedThrough, through)))
            for (let i = 0; i < hops; i++) await Promise.resolve()
            check()
            if (settle === 0) await scene.runtime.settle()
            check()
          }
          await scene.runtime.settle()
          check()
          expect(readFrom(log, 0)).toEqual(sent.map(({ value }) => value))
        },
      ),
      runs(40),
    )
  })

  test('DURA-25: what was flushed is there after a crash and after power loss; the end is found again', async () => {
    for (const kind of ['process', 'power'] as const) {
      const scene = new LogScene()
      const log = scene.log()
      await appendBatches(scene, log, numbered(5))
      append(log, 'not flushed')
      scene.crash(kind)
      const again = scene.log()
      expect(again.offsets).toEqual({ start: 0, end: 5 })
      expect(readFrom(again, 0)).toEqual(numbered(5))
      expect(append(again, 'next')).toBe(5)
      await scene.runtime.settle()
      expect(readFrom(again, 4)).toEqual(['m4', 'next'])
    }
  })

  test('ids of an offset that is used again after a crash differ', async () => {
    const scene = new LogScene()
    const log = scene.log()
    log.watch(() => {})
    append(log, 'lost', 'buffered')
    for (let i = 0; i < 4; i++) await Promise.resolve()
    const before = log.fetch(0)
    scene.crash('power')
    const again = scene.log()
    append(again, 'kept')
    await scene.runtime.settle()
    const after = again.fetch(0)
    if (before.kind !== 'records' || after.kind !== 'records') throw new Error('nothing to read')
    expect(before.batch.idPrefix).not.toBe(after.batch.idPrefix)
  })

  test('timestamps never go back when the wall clock does, nor over a restart', async () => {
    const scene = new LogScene()
    const log = scene.log()
    await appendBatches(scene, log, ['a'])
    const first = log.lastTimestamp
    scene.runtime.jumpWallClock(-3_600_000)
    await appendBatches(scene, log, ['b'])
    expect(log.lastTimestamp).toBe(first)
    scene.crash('process')
    const again = scene.log()
    await appendBatches(scene, again, ['c'])
    expect([0, 1, 2].map((offset) => again.timestampAt(offset))).toEqual([first, first, first])
    scene.runtime.jumpWallClock(7_200_000)
    await appendBatches(scene, again, ['d'])
    expect(again.timestampAt(3)).toBe(first + 3_600_000)
    again.trim(4)
    await scene.runtime.settle()
    scene.runtime.jumpWallClock(-9_000_000)
    scene.crash('power')
    const third = scene.log()
    await appendBatches(scene, third, ['e'])
    expect(third.timestampAt(4), 'also when everything before was removed').toBe(first + 3_600_000)
  })

  test('the offset at a time is the first message at or after it', async () => {
    const scene = new LogScene()
    const log = scene.log()
    const start = scene.runtime.now()
    expect(log.offsetAt(start)).toBe(0)
    for (let i = 0; i < 20; i++) {
      append(log, `${i} a`)
      append(log, `${i} b`)
      await scene.runtime.advance(10)
    }
    expect(log.offsetAt(0)).toBe(0)
    for (let i = 0; i < 20; i++) {
      expect(log.offsetAt(start + 10 * i)).toBe(2 * i)
      expect(log.offsetAt(start + 10 * i + 1)).toBe(2 * i + 2)
    }
    expect(log.offsetAt(start + 1000)).toBe(40)
    log.trim(7)
    expect(log.offsetAt(0)).toBe(7)
    expect(log.offsetAt(start + 40)).toBe(8)
  })

  test('a trim hides messages at once, in the middle of a batch too, and survives a restart', async () => {
    const scene = new LogScene()
    const log = scene.log()
    for (const value of numbered(10)) append(log, value)
    await scene.runtime.settle()
    log.trim(4)
    expect(log.offsets).toEqual({ start: 4, end: 10 })
    expect(log.fetch(3)).toEqual({ kind: 'gap', start: 4 })
    await scene.runtime.settle()
    expect(scene.storedBatches(), 'the batch holds later messages').toBe(1)
    scene.crash('power')
    const again = scene.log()
    expect(again.offsets).toEqual({ start: 4, end: 10 })
    expect(readFrom(again, 4)).toEqual(numbered(6, 4))
    again.trim(2)
    expect(again.offsets.start, 'a trim never goes back').toBe(4)
  })

  test('an emptied partition goes on at its end after a restart', async () => {
    const scene = new LogScene()
    const log = scene.log()
    await appendBatches(scene, log, numbered(7))
    log.trim(100)
    await scene.runtime.settle()
    expect([log.offsets, scene.storedBatches(), log.bytes]).toEqual([{ start: 7, end: 7 }, 0, 0])
    scene.crash('power')
    const again = scene.log()
    expect([again.offsets, again.bytes]).toEqual([{ start: 7, end: 7 }, 0])
    expect(append(again, 'next')).toBe(7)
    await scene.runtime.settle()
    expect(readFrom(again, 7)).toEqual(['next'])
  })

  test('BOUND-22: a long backlog is removed in slices of at most 256 batches a commit, and a crash between them loses nothing', async () => {
    const scene = new LogScene()
    const log = scene.log()
    await appendBatches(scene, log, numbered(1000))
    log.trim(900)
    const left: number[] = []
    scene.atPoint = (name) => {
      if (name === 'commit:flushed') left.push(scene.storedBatches())
    }
    await scene.runtime.settle()
    expect(left).toEqual([744, 488, 232, 100])

    const second = new LogScene()
    const interrupted = second.log()
    await appendBatches(second, interrupted, numbered(1000))
    interrupted.trim(900)
    second.atPoint = (name) => {
      if (name === 'commit:flushed') second.crash('process')
    }
    await second.runtime.settle()
    second.atPoint = () => {}
    expect(second.storedBatches()).toBe(744)
    const again = second.log()
    expect(again.offsets).toEqual({ start: 900, end: 1000 })
    expect(readFrom(again, 900)).toEqual(numbered(100, 900))
    await second.runtime.settle()
    expect(second.storedBatches(), 'the removal goes on after the restart').toBe(100)
  })

  test('the bytes of a partition are those of what can be read, also while a removal is under way', async () => {
    const scene = new LogScene()
    const log = scene.log()
    await appendBatches(scene, log, numbered(1000))
    const whole = log.bytes
    expect(whole).toBe(log.bytesFrom(0))
    log.trim(900)
    const left = log.bytesFrom(900)
    const seen: number[] = [log.bytes]
    scene.atPoint = (name) => {
      if (name !== 'commit:before') seen.push(log.bytes)
    }
    await scene.runtime.settle()
    expect(seen).toEqual(new Array<number>(9).fill(left))
    expect(left).toBeLessThan(whole / 9)
  })

  test('a damaged batch is refused when it is read from disk, not handed out', async () => {
    const scene = new LogScene()
    await appendBatches(scene, scene.log(), numbered(3))
    const [, second] = scene.storage.range('log', { from: Buffer.alloc(1), to: Buffer.alloc(11, 255), limit: 10 })
    const damaged = Buffer.from(second!.value)
    damaged[60]! ^= 1
    expect(damageOf(damaged, 1, 1)).toBe('checksum does not match')
    const writes = scene.storage.batch()
    writes.put('log', second!.key, damaged)
    await scene.runtime.resolve(scene.storage.commit(writes))
    scene.crash('process')
    const log = scene.log()
    expect(log.fetch(0).kind).toBe('records')
    expect(() => log.fetch(1)).toThrow(expect.objectContaining({ code: 'STORE_CORRUPT', offset: 1 }))
    expect(log.fetch(2).kind).toBe('records')
  })

  test('a watcher hears of new messages until it stops; a function may watch twice', async () => {
    const scene = new LogScene()
    const log = scene.log()
    let heard = 0
    const listener = (): void => void heard++
    const stop = log.watch(listener)
    const stopOther = log.watch(listener)
    await appendBatches(scene, log, ['a'])
    expect(heard).toBe(2)
    stop()
    stop()
    await appendBatches(scene, log, ['b'])
    expect(heard).toBe(3)
    stopOther()
    await appendBatches(scene, log, ['c'])
    expect(heard).toBe(3)
  })
})
