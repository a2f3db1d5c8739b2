import { describe, test } from 'vitest'
import { idempotencySuite } from '../../src/testing/suites/idempotency-suite.ts'
import { memoryIdempotency, servedIdempotency } from './idempotency-subjects.ts'

const subjects = { memory: memoryIdempotency, 'a client of a server': servedIdempotency() }

for (const [name, subject] of Object.entries(subjects)) {
  describe(`idempotency store: ${name}`, () => {
    for (const { name, run, skipped } of idempotencySuite(subject)) (skipped ? test.skip : test)(name, () => run())
  })
}
