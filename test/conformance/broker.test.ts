import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'vitest'
import type { EmbeddedBroker } from '../../src/embedded/embedded-broker.ts'
import { realRuntime as runtime } from '../../src/runtime/real-runtime.ts'
import { openLmdbStorage } from '../../src/storage/lmdb-storage.ts'
import type { BrokerUnderTest } from '../../src/testing/suites/broker-case.ts'
import { brokerSuite } from '../../src/testing/suites/broker-suite.ts'
import { brokerOn, memoryBroker } from './subjects.ts'

const subjects = {
  memory: memoryBroker(),
  lmdb: { features: { durable: true, exactProgress: true, effects: true }, open: onLmdb },
}

for (const [name, subject] of Object.entries(subjects)) {
  describe(`broker: embedded, ${name}`, () => {
    for (const { name, run, skipped } of brokerSuite(subject)) (skipped ? test.skip : test)(name, () => run())
  })
}

async function onLmdb(): Promise<BrokerUnderTest> {
  const base = mkdtempSync(join(tmpdir(), 'lanemq-broker-'))
  const open = async (): Promise<EmbeddedBroker> =>
    brokerOn(await openLmdbStorage({ path: join(base, 'store'), runtime }))
  let broker = await open()
  return {
    broker,
    reopen: async () => {
      await broker.close()
      return (broker = await open())
    },
    dispose: async () => {
      await broker.close()
      rmSync(base, { recursive: true, force: true })
    },
  }
}
