import { describe, expect, test } from 'vitest'
import {
  openMemoryIdempotencyStore,
  type MemoryIdempotencyOptions,
  type MemoryIdempotencyStore,
} from '../../../src/idempotency/memory-store.ts'
import { VirtualRuntime } from '../../../src/testing/virtual-runtime.ts'

const lease = { owner: 'a', leaseMs: 1_000 }
const kept = { ttlMs: 60_000 }

interface Scene {
  readonly runtime: VirtualRuntime
  readonly store: MemoryIdempotencyStore
  /** Begins and says what became of it. */
  readonly begin: (key: string, leaseMs?: number) => Promise<string>
  /** Does the work of a key from begin to end. */
  readonly work: (key: string, result?: Uint8Array, ttlMs?: number) => Promise<void>
}

function scene(options?: MemoryIdempotencyOptions): Scene {
  const runtime = new VirtualRuntime()
  const store = openMemoryIdempotencyStore(runtime, options)
  return {
    runtime,
    store,
    begin: async (key, leaseMs = 1_000) => (await store.begin(key, { owner: 'a', leaseMs })).outcome,
    work: async (key, result, ttlMs = 60_000) => {
      const found = await store.begin(key, lease)
      if (found.outcome !== 'acquired') throw new Error(found.outcome)
      await store.complete(key, found.fence, result, { ttlMs })
    },
  }
}

describe('a full store', () => {
  test('lets go of what has expired first, and says nothing', async () => {
    const { runtime, store, begin, work } = scene({ maxEntries: 3 })
    await work('old')
    await work('short', undefined, 10)
    await begin('lapsed')
    await runtime.advance(1_000)
    expect([await begin('x'), await begin('y')]).toEqual(['acquired', 'acquired'])
    expect(await begin('old')).toBe('done')
    expect(store.stats()).toMatchObject({ claims: 2, marks: 1, evicted: 0 })
    expect(runtime.warnings).toEqual([])
  })

  test('then of the marks that were made first; each is counted, the first is warned of', async () => {
    const { runtime, store, begin, work } = scene({ maxEntries: 3 })
    await begin('running', 86_400_000)
    await work('first')
    await work('second')
    await work('third')
    await work('fourth')
    expect([await begin('third'), await begin('fourth'), await begin('running')]).toEqual(['done', 'done', 'busy'])
    expect(store.stats()).toMatchObject({ claims: 1, marks: 2, evicted: 2 })
    expect(runtime.warnings).toHaveLength(1)
    expect(runtime.warnings[0]).toMatch(/full.*repeats of those run again/)
  })

  test('never of a running claim: a begin is refused with STORE_FULL, retriable, until one ends', async () => {
    const { store, begin } = scene({ maxEntries: 2 })
    const found = await store.begin('a', lease)
    await begin('b')
    await expect(begin('c')).rejects.toMatchObject({ code: 'STORE_FULL', retriable: true, count: 2 })
    expect([await begin('a'), await begin('b')]).toEqual(['busy', 'busy'])
    await store.complete('a', found.outcome === 'acquired' ? found.fence : 0, undefined, kept)
    expect(await begin('c')).toBe('acquired')
  })

  test('counts bytes as well as entries', async () => {
    const { store, begin, work } = scene({ maxBytes: 4_096, maxResultBytes: 1_024 })
    for (const key of ['a', 'b', 'c', 'd']) await work(key, new Uint8Array(1_000))
    expect(store.stats()).toMatchObject({ marks: 3, evicted: 1 })
    expect(store.stats().bytes).toBeLessThanOrEqual(4_096)
    expect(await begin('a')).toBe('acquired')
  })

  test('still takes the result of work that is over, whatever it has to forget for it', async () => {
    const { store, begin, work } = scene({ maxBytes: 1_024, maxResultBytes: 4_096 })
    await work('small')
    const found = await store.begin('large', lease)
    if (found.outcome !== 'acquired') throw new Error(found.outcome)
    expect((await store.complete('large', found.fence, new Uint8Array(4_096), kept)).outcome).toBe('accepted')
    expect(await begin('large')).toBe('done')
    expect(store.stats()).toMatchObject({ claims: 0, marks: 1, evicted: 1 })
  })

  test('refuses a claim that its bytes have no room for', async () => {
    const { begin } = scene({ maxBytes: 2_048 })
    expect(await begin('a'.repeat(500))).toBe('acquired')
    await expect(begin('b'.repeat(500))).rejects.toMatchObject({ code: 'STORE_FULL' })
  })

  test('makes room for a result out of what has expired, before it forgets a mark', async () => {
    const { runtime, store, begin, work } = scene({ maxBytes: 4_096 })
    await work('mark', new Uint8Array(1_000))
    await work('expired', new Uint8Array(1_000), 10)
    await runtime.advance(10)
    const found = await store.begin('large', lease)
    if (found.outcome !== 'acquired') throw new Error(found.outcome)
    await store.complete('large', found.fence, new Uint8Array(1_500), kept)
    expect(await begin('mark')).toBe('done')
    expect(store.stats().evicted).toBe(0)
  })

  test('lets go of its own lapsed claim when it is begun again, not of a mark', async () => {
    const { runtime, begin, work } = scene({ maxEntries: 2 })
    await work('done')
    await begin('lapsed')
    await runtime.advance(1_000)
    expect([await begin('lapsed'), await begin('done')]).toEqual(['acquired', 'done'])
  })
})

test('the bytes it counts go back to nothing, however entries leave', async () => {
  const { runtime, store, begin, work } = scene({ maxEntries: 6 })
  for (let i = 0; i < 200; i++) {
    await work(`mark ${i}`, new Uint8Array(i), 10 + i)
    const found = await store.begin(`claim ${i}`, lease)
    if (found.outcome !== 'acquired') throw new Error(found.outcome)
    if (i % 3 === 0) await store.release(`claim ${i}`, found.fence)
    if (i % 3 === 1) await store.fail(`claim ${i}`, found.fence, new TypeError('no'), { ttlMs: 5 })
    await runtime.advance((i % 7) * 100)
  }
  await begin('one more')
  await runtime.advance(100_000)
  while ((await store.sweep(3)).more);
  expect(store.stats()).toMatchObject({ claims: 0, marks: 0, bytes: 0 })
})

test('a key that is begun again takes the room of one', async () => {
  const { runtime, store, begin, work } = scene()
  await begin('k')
  const { bytes } = store.stats()
  await runtime.advance(1_000)
  await work('k', undefined, 10)
  await runtime.advance(10)
  await begin('k')
  expect(store.stats()).toMatchObject({ claims: 1, marks: 0, bytes })
  await runtime.advance(1_000)
  expect(await store.sweep(10)).toEqual({ removed: 1, more: false })
})

test('many renewals of one claim take no room', async () => {
  const { store, begin } = scene({ maxEntries: 1 })
  const found = await store.begin('k', lease)
  if (found.outcome !== 'acquired') throw new Error(found.outcome)
  for (let i = 0; i < 10_000; i++) await store.renew('k', found.fence, 1_000 + i)
  expect(await begin('k')).toBe('busy')
  expect(store.stats().claims).toBe(1)
})

test('the wall clock has no say: a jump ends no lease and no mark', async () => {
  const { runtime, begin, work } = scene()
  await work('mark')
  await begin('claim')
  runtime.jumpWallClock(10 ** 12)
  expect([await begin('mark'), await begin('claim')]).toEqual(['done', 'busy'])
})

test('it sets no timer', async () => {
  const { runtime, begin, work } = scene()
  await work('mark')
  await begin('claim')
  expect(runtime.timers()).toEqual([])
})

test.each([
  { maxEntries: 0 },
  { maxEntries: 1.5 },
  { maxBytes: 10 },
  { maxResultBytes: -1 },
  { maxEntires: 5 } as object,
])('an invalid option is refused: %j', (options) => {
  expect(() => openMemoryIdempotencyStore(new VirtualRuntime(), options)).toThrow(
    expect.objectContaining({ code: 'INVALID_OPTION', option: Object.keys(options)[0] }),
  )
})

test('a result that is a Buffer is copied, in and out', async () => {
  const { store } = scene()
  const begun = await store.begin('k', { owner: 'a', leaseMs: 1000 })
  const given = Buffer.from('kept')
  await store.complete('k', begun.outcome === 'acquired' ? begun.fence : 0, given, { ttlMs: 1000 })
  given.fill(0)
  const resultOf = async (): Promise<Uint8Array | undefined> => {
    const again = await store.begin('k', { owner: 'b', leaseMs: 1000 })
    return again.outcome === 'done' ? again.result : undefined
  }
  const first = await resultOf()
  expect(Buffer.from(first!).toString()).toBe('kept')
  first!.fill(0)
  expect(Buffer.from((await resultOf())!).toString()).toBe('kept')
})
