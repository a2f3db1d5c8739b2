import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { afterAll, describe, expect, onTestFinished, test } from 'vitest'
import { open, type QueueError, type SendResult } from '../../src/index.ts'

const base = mkdtempSync(join(tmpdir(), 'lanemq-full-queue-'))
const disk = join(base, 'disk')
mkdirSync(disk)
const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', disk]).status === 0
afterAll(() => {
  if (mounted) spawnSync('umount', [disk])
  rmSync(base, { recursive: true, force: true })
})

// Skips are counted by the runner; the reason stands in the title.
describe.skipIf(!mounted)(`queue: full disk${mounted ? '' : ' (needs the right to mount a small tmpfs)'}`, () => {
  test('BOUND-47: refuses sends in time, keeps what it acknowledged, still acknowledges, and goes on when there is room', async () => {
    const path = join(disk, 'store')
    let mq = await open({ path, minFreeBytes: 24 << 20 })
    onTestFinished(() => mq.close({ timeoutMs: 0 }).then(() => {}))
    const events: string[] = []
    mq.on('store:full', () => events.push('full'))
    mq.on('store:available', () => events.push('available'))
    let topic = await mq.topic<string>('t', { partitions: 2 })
    const filler = join(disk, 'filler')
    writeFileSync(filler, Buffer.alloc(16 << 20))
    const sent: SendResult[] = []
    const value = 'x'.repeat(50_000)
    const error = await (async () => {
      for (let i = 0; ; i++) {
        const batch = Array.from({ length: 4 }, (_, j) => ({ key: `k${i * 4 + j}`, value: `${i * 4 + j} ${value}` }))
        try {
          sent.push(...(await topic.sendBatch(batch)))
        } catch (reason) {
          return reason as QueueError
        }
      }
    })()
    expect(error).toMatchObject({ name: 'QueueError', code: 'STORE_FULL', retriable: true })
    expect(sent.length).toBeGreaterThan(50)
    await expect(topic.send({ value: 'x' })).rejects.toMatchObject({ code: 'STORE_FULL' })

    // Progress, trims and deletes do not wait for room.
    const seen = new Set<string>()
    const subscription = await topic.subscribe(
      'g',
      ({ value: text, partition, offset }) => void seen.add(`${partition}/${offset} ${text.split(' ')[0]!}`),
      { from: 'earliest' },
    )
    expect(await subscription.drain()).toEqual({ left: 0 })
    expect(seen).toEqual(new Set(sent.map(({ partition, offset }, i) => `${partition}/${offset} ${i}`)))
    await mq.close()

    mq = await open({ path, minFreeBytes: 24 << 20 })
    topic = await mq.topic<string>('t')
    expect(mq.group('g').lag().count).toBe(0)
    expect((await mq.verify()).damages).toEqual([])
    let count = 0
    for await (const message of topic.read()) if (message.value.endsWith(value)) count++
    expect(count).toBe(sent.length)
    await expect(topic.send({ value: 'x' })).rejects.toMatchObject({ code: 'STORE_FULL' })
    rmSync(filler)
    // Free space is looked up at most once a second.
    const isRefused = (): Promise<boolean> =>
      topic.send({ key: 'after', value: 'there is room again' }).then(
        () => false,
        (reason: QueueError) => reason.code === 'STORE_FULL',
      )
    while (await isRefused()) await turn()
    await topic.trim(0, topic.offsets()[0]!.end)
    await mq.deleteTopic('t')
    await mq.close()
    expect(events).toEqual(['full'])
  })
})
