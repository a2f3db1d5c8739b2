import { describe, expect, test } from 'vitest'
import type { DedupeSettings } from '../../../src/contracts/broker.ts'
import { MessageIds } from '../../../src/embedded/message-ids.ts'
import { messageIdsKey } from '../../../src/key-layout.ts'
import { LogScene } from '../log/log-scene.ts'

const topicId = 7

/** The ids of a topic, on a store in memory. */
class IdsScene extends LogScene {
  ids: MessageIds
  #sent = 0

  constructor(limits: DedupeSettings | false) {
    super()
    this.ids = new MessageIds(this.context, topicId, limits)
  }

  /** The process dies, and another one goes on. */
  async restart(limits: DedupeSettings | false, offMs = 0): Promise<void> {
    this.crash('process')
    await this.runtime.advance(offMs)
    this.ids = new MessageIds(this.context, topicId, limits)
  }

  /** Sends so many ids, in one commit. */
  async send(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      const offset = this.#sent++
      this.ids.add(`id ${offset}`, { partition: 0, offset, timestamp: 0 })
    }
    await this.runtime.settle()
  }

  rows(): number {
    const range = { from: messageIdsKey(topicId, 0), to: messageIdsKey(topicId + 1, 0), limit: 1e6 }
    return this.storage.keys('state', range).length
  }
}

const forEver: DedupeSettings = { maxCount: 1e6, maxAgeMs: Infinity }

describe('stored ids', () => {
  test('ONCE-87: rows of ids beyond the count are removed, however many come', async () => {
    const scene = new IdsScene({ maxCount: 10, maxAgeMs: Infinity })
    for (let i = 0; i < 200; i++) await scene.send(1)
    expect(scene.rows()).toBeLessThanOrEqual(11)
    for (let i = 0; i < 5; i++) await scene.send(5_000)
    // The newest ten are in the last row.
    expect(scene.rows()).toBeLessThanOrEqual(2)
    await scene.restart({ maxCount: 10, maxAgeMs: Infinity })
    expect(scene.ids.find('id 25190')).toMatchObject({ offset: 25_190 })
    expect(scene.ids.find('id 25189')).toBeUndefined()
  })

  test('ONCE-88: rows of ids that are too old are removed with the next id, and by the next process', async () => {
    const limits = { maxCount: 1e6, maxAgeMs: 1_000 }
    const scene = new IdsScene(limits)
    for (let i = 0; i < 20; i++) await scene.send(1)
    expect(scene.rows()).toBe(20)
    await scene.runtime.advance(1_001)
    await scene.send(1)
    expect(scene.rows()).toBe(1)
    await scene.restart(limits, 1_001)
    await scene.runtime.settle()
    expect(scene.rows()).toBe(0)
  })

  for (const [what, limits] of [
    ['is turned off', false],
    ['gets smaller', { maxCount: 1, maxAgeMs: Infinity }],
  ] as const) {
    test(`ONCE-89: when the window ${what} its rows are removed, in slices, to the last one`, async () => {
      const scene = new IdsScene(forEver)
      for (let i = 0; i < 600; i++) await scene.send(1)
      expect(scene.rows()).toBe(600)
      scene.ids.configure(limits)
      await scene.runtime.settle()
      expect(scene.rows()).toBe(limits === false ? 0 : 1)
    })

    test(`ONCE-89: a process that dies in between leaves none of them when the window ${what}`, async () => {
      const scene = new IdsScene(forEver)
      for (let i = 0; i < 300; i++) await scene.send(1)
      await scene.restart(limits)
      await scene.runtime.settle()
      expect(scene.rows()).toBe(limits === false ? 0 : 1)
    })
  }
})
