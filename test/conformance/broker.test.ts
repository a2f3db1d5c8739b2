import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'vitest'
import type { Storage } from '../../src/contracts/storage.ts'
import { EmbeddedBroker } from '../../src/embedded/embedded-broker.ts'
import { EventHub } from '../../src/events.ts'
import { queueDefaults } from '../../src/open.ts'
import { realRuntime as runtime } from '../../src/runtime/real-runtime.ts'
import { openLmdbStorage } from '../../src/storage/lmdb-storage.ts'
import { openMemoryStorage } from '../../src/storage/memory-storage.ts'
import type { BrokerUnderTest } from '../../src/testing/broker-case.ts'
import { brokerSuite } from '../../src/testing/broker-suite.ts'

const brokerOn = (storage: Storage): EmbeddedBroker => {
  const events = new EventHub((error) => {
    throw error
  })
  return new EmbeddedBroker(storage, runtime, events, queueDefaults())
}

brokerSuite({
  describe,
  test,
  name: 'embedded, memory',
  open: inMemory,
  features: { crash: true, exactProgress: true },
})
brokerSuite({ describe, test, name: 'embedded, lmdb', open: onLmdb, features: { exactProgress: true } })

function inMemory(): Promise<BrokerUnderTest> {
  let storage = openMemoryStorage({ runtime, durable: true })
  let broker = brokerOn(storage)
  const next = (): EmbeddedBroker => {
    storage = storage.crash('power')
    return (broker = brokerOn(storage))
  }
  return Promise.resolve({
    broker,
    reopen: async () => {
      await broker.close()
      return next()
    },
    crash: () => Promise.resolve(next()),
    dispose: () => broker.close(),
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
