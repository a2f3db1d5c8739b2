import { describe, expect, test } from 'vitest'
import { openMemoryIdempotencyStore } from '../../src/idempotency/memory-store.ts'
import { realRuntime } from '../../src/runtime/real-runtime.ts'
import { runSuite } from '../../src/testing/suites/conformance.ts'
import { idempotencySuite, type IdempotencySubject } from '../../src/testing/suites/idempotency-suite.ts'
import { queueIdempotency } from './lmdb-idempotency.ts'
import { memoryIdempotency, servedIdempotency } from './idempotency-subjects.ts'

const subjects = {
  memory: memoryIdempotency,
  'a client of a server': servedIdempotency(),
  'in a queue': queueIdempotency,
}

for (const [name, subject] of Object.entries(subjects)) {
  describe(`idempotency store: ${name}`, () => {
    for (const { name, run, skipped } of idempotencySuite(subject)) (skipped ? test.skip : test)(name, () => run())
  })
}

/** As a server is tested: leases are waited for. */
const inRealTime: IdempotencySubject = {
  features: { results: true },
  open: async () => {
    const store = openMemoryIdempotencyStore(realRuntime)
    const advance = (ms: number): Promise<void> =>
      new Promise((resolve) => void realRuntime.timer(ms, 'the time of the store', resolve))
    return { store, leaseMs: 300, advance, dispose: () => store.close() }
  },
}

test('the suite holds in real time as well', async () => {
  const results = await Promise.all(idempotencySuite(inRealTime).map((one) => runSuite([one])))
  expect(results.flatMap(({ failed }) => failed)).toEqual([])
})
