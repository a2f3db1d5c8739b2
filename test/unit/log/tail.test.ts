import { describe, expect, test } from 'vitest'
import type { StoredBatch } from '../../../src/log/record-batch.ts'
import { RecentReads, Tail } from '../../../src/log/tail.ts'
import { append, LogScene, readFrom } from './log-scene.ts'

const kilobyte = 'x'.repeat(1000)

describe('the tail in memory', () => {
  test('BOUND-23: the newest batches of all partitions together stay within the limit, the oldest go first', async () => {
    const scene = new LogScene({ tailBytes: 20_000 })
    const logs = [scene.log(1), scene.log(2)]
    for (let i = 0; i < 100; i++) {
      append(logs[i % 2]!, kilobyte)
      await scene.runtime.settle()
      expect(scene.context.tail.bytes).toBeLessThanOrEqual(20_000)
    }
    expect(scene.context.tail.bytes).toBeGreaterThan(15_000)
    for (const log of logs) expect(readFrom(log, 0)).toHaveLength(50)
  })

  test('what is not flushed yet stays, whatever the limit says', async () => {
    const scene = new LogScene({ tailBytes: 1 })
    const log = scene.log()
    log.watch(() => {})
    for (let i = 0; i < 5; i++) {
      append(log, kilobyte, 'buffered')
      for (let hop = 0; hop < 4; hop++) await Promise.resolve()
    }
    expect(scene.context.tail.bytes).toBeGreaterThan(5000)
    expect(readFrom(log, 0)).toHaveLength(5)
    await scene.runtime.settle()
    expect(scene.context.tail.bytes).toBe(0)
    expect(readFrom(log, 0)).toHaveLength(5)
  })

  test('BOUND-24: a partition that was trimmed does not keep the others from giving memory back', async () => {
    const scene = new LogScene({ tailBytes: 20_000 })
    const trimmed = scene.log(1)
    const other = scene.log(2)
    for (let i = 0; i < 10; i++) {
      append(trimmed, kilobyte)
      await scene.runtime.settle()
    }
    trimmed.trim(10)
    await scene.runtime.settle()
    for (let i = 0; i < 60; i++) {
      append(other, kilobyte)
      await scene.runtime.settle()
    }
    expect(scene.context.tail.bytes).toBeLessThanOrEqual(20_000)
  })

  test('trimming for ever neither fills nor leaks the order of eviction', async () => {
    const scene = new LogScene({ tailBytes: 20_000 })
    const log = scene.log(1)
    const other = scene.log(2)
    for (let i = 0; i < 4000; i++) {
      append(i % 2 ? log : other, 'short')
      await scene.runtime.settle()
      log.trim(log.offsets.end)
    }
    expect(scene.context.tail.bytes).toBeLessThanOrEqual(20_000)
    for (let i = 0; i < 30; i++) {
      append(log, kilobyte)
      await scene.runtime.settle()
    }
    expect(scene.context.tail.bytes).toBeLessThanOrEqual(20_000)
    expect(readFrom(log, log.offsets.start)).toHaveLength(30)
  })

  test('a released partition gives all of its memory back', async () => {
    const scene = new LogScene()
    const log = scene.log()
    append(log, kilobyte)
    await scene.runtime.settle()
    log.release()
    expect(scene.context.tail.bytes).toBe(0)
  })

  test('an owner that has to keep its oldest batch ends the round', () => {
    const tail = new Tail(10)
    const stubborn = { evictOldest: () => false }
    tail.added(stubborn, { bytes: 100 } as StoredBatch)
    tail.evict()
    expect(tail.bytes).toBe(100)
  })
})

describe('recent reads', () => {
  const batch = (baseOffset: number): StoredBatch => ({ baseOffset, nextOffset: baseOffset + 10 }) as StoredBatch

  test('the batches that were read last are found by any offset within, up to the limit', () => {
    const recent = new RecentReads(2)
    const owner = {}
    recent.add(owner, batch(0))
    recent.add(owner, batch(10))
    expect([0, 9, 10, 19, 20].map((offset) => recent.find(owner, offset)?.baseOffset)).toEqual([
      0,
      0,
      10,
      10,
      undefined,
    ])
    recent.add(owner, batch(20))
    expect([0, 10, 20].map((offset) => recent.find(owner, offset)?.baseOffset)).toEqual([undefined, 10, 20])
  })

  test('each owner has its own, and loses them when it is forgotten', () => {
    const recent = new RecentReads(4)
    const [one, other] = [{}, {}]
    recent.add(one, batch(0))
    recent.add(other, batch(0))
    recent.forget(one)
    expect([recent.find(one, 5), recent.find(other, 5)?.baseOffset]).toEqual([undefined, 0])
  })
})
