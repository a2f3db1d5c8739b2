import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { afterAll, describe, expect, test } from 'vitest'
import { isQueueError } from '../../src/errors.ts'
import { takeOwnerLock } from '../../src/storage/owner-lock.ts'
import { StorageChild } from './storage-child.ts'

const long = process.env['LANEMQ_LONG'] === '1'
const base = mkdtempSync(join(tmpdir(), 'lanemq-owner-'))
afterAll(() => rmSync(base, { recursive: true, force: true }))
let directories = 0
function freshDirectory(under = base): string {
  const directory = join(under, `d${directories++}`)
  mkdirSync(directory, { recursive: true })
  return directory
}

describe('storage: one owner', () => {
  test('FENCE-2: of many racing processes, killed at any moment, one is the owner', { timeout: 600_000 }, async () => {
    const [racers, killsWanted] = long ? [100, 1_000] : [16, 24]
    const directory = freshDirectory()
    const journal = join(base, 'journal')
    const children = new Set<StorageChild>()
    let kills = 0
    let enough = (): void => {}
    const finished = new Promise<void>((resolve) => (enough = resolve))
    const start = (): void => {
      const child = new StorageChild('storage-owner.mjs', [directory, journal, '1000000'])
      children.add(child)
      child.lines.on('line', (line) => {
        // Every second owner dies as one; the others leave by themselves.
        if (!line.startsWith('own') || Number(line.slice(4)) % 2 === 0 || !children.delete(child)) return
        child.kill()
        if (++kills >= killsWanted) enough()
        else start()
      })
    }
    for (let i = 0; i < racers; i++) start()
    await finished
    const last = [...children]
    for (const child of last) child.kill()
    await Promise.all(last.map((child) => child.ended))

    let newest = 0
    let owners = 0
    for (const line of readFileSync(journal, 'utf8').trim().split('\n')) {
      const [word, generation] = [line.split(' ')[0], Number(line.split(' ')[1])]
      if (word === 'own') {
        expect(generation).toBeGreaterThan(newest)
        newest = generation
        owners++
      } else expect(generation, 'an owner acted after the next one had come').toBe(newest)
    }
    expect(owners).toBeGreaterThanOrEqual(kills)
    const next = await takeOwnerLock(directory)
    expect(next.generation).toBeGreaterThan(newest)
    await next.release()
    console.log(`${racers} processes: ${owners} owners one after the other, ${kills} of them killed, never two`)
  })

  test('FENCE-3: a stopped owner is still the owner, a killed one is replaced at once', async () => {
    const directory = freshDirectory()
    const child = new StorageChild('storage-second-owner.mjs', [directory])
    await lineOf(child)
    child.kill('SIGSTOP')
    // More than the queue of unanswered connections holds.
    for (let i = 0; i < 600; i++) {
      const error = await takeOwnerLock(directory).catch((error: unknown) => error)
      if (!isQueueError(error, 'STORE_LOCKED')) throw error
      expect(error.pid).toBe(child.pid)
    }
    child.kill()
    await child.ended
    await (await takeOwnerLock(directory)).release()
  })

  test('FENCE-4: this process, its threads and other processes are all refused while it owns the store', async () => {
    const directory = freshDirectory()
    const lock = await takeOwnerLock(directory)
    const locked = { code: 'STORE_LOCKED', pid: process.pid, retriable: true }
    await expect(takeOwnerLock(directory)).rejects.toMatchObject(locked)
    const worker = new Worker(new URL('storage-second-owner.mjs', import.meta.url), { workerData: directory })
    expect(await new Promise((resolve) => worker.once('message', resolve))).toBe(`STORE_LOCKED ${process.pid}`)
    await worker.terminate()
    const other = new StorageChild('storage-second-owner.mjs', [directory])
    expect(await lineOf(other)).toBe(`STORE_LOCKED ${process.pid}`)
    await other.ended
    expect(existsSync(join(directory, 'data.mdb'))).toBe(false)
    await lock.release()
    await (await takeOwnerLock(directory)).release()
  })

  test('a path longer than a socket address holds the lock all the same', async () => {
    const directory = freshDirectory(join(base, 'long-'.repeat(20), 'longer-'.repeat(20)))
    const lock = await takeOwnerLock(directory)
    await expect(takeOwnerLock(directory)).rejects.toMatchObject({ code: 'STORE_LOCKED' })
    const other = new StorageChild('storage-second-owner.mjs', [directory])
    expect(await lineOf(other)).toBe(`STORE_LOCKED ${process.pid}`)
    await other.ended
    await lock.release()
  })

  test('generations rise, can be raised, and old ones are cleared away', async () => {
    const directory = freshDirectory()
    for (let generation = 1; generation <= 40; generation++) {
      const lock = await takeOwnerLock(directory)
      expect(lock.generation).toBe(generation)
      await lock.release()
    }
    expect(readdirSync(directory).length).toBeLessThan(40)
    const raised = await takeOwnerLock(directory)
    raised.raise(1_000)
    expect(raised.generation).toBe(1_000)
    await expect(takeOwnerLock(directory)).rejects.toMatchObject({ code: 'STORE_LOCKED' })
    await raised.release()
    const next = await takeOwnerLock(directory)
    expect(next.generation).toBe(1_001)
    await next.release()
  })

  test('an owner does not keep its process alive', async () => {
    const directory = freshDirectory()
    const child = new StorageChild('storage-owner.mjs', [directory, join(base, 'alive'), '1', 'keep'])
    expect((await child.ended).code).toBe(0)
  })
})

function lineOf(child: StorageChild): Promise<string> {
  return new Promise((resolve) => child.lines.once('line', resolve))
}
