import type { Storage } from '../../src/contracts/storage.ts'
import { EmbeddedBroker } from '../../src/embedded/embedded-broker.ts'
import { EventHub } from '../../src/events.ts'
import { queueDefaults } from '../../src/open.ts'
import { realRuntime as runtime } from '../../src/runtime/real-runtime.ts'
import { openMemoryStorage } from '../../src/storage/memory-storage.ts'
import type { BrokerUnderTest } from '../../src/testing/suites/broker-case.ts'
import type { BrokerSubject } from '../../src/testing/suites/broker-suite.ts'
import type { StorageUnderTest } from '../../src/testing/suites/storage-case.ts'
import type { StorageSubject } from '../../src/testing/suites/storage-suite.ts'

/** A copy of `whole` that answers differently in some places. */
export function spoil<T extends object>(whole: T, changes: Partial<T>): T {
  return new Proxy(whole, {
    get: (_, name) => {
      if (name in changes) return changes[name as keyof T]
      const value: unknown = Reflect.get(whole, name, whole)
      return typeof value === 'function' ? (value.bind(whole) as unknown) : value
    },
  })
}

/** The store in memory, which can do all but backups; `change` may spoil each opening of it. */
export function memoryStorage(change: (storage: Storage) => Storage = (storage) => storage): StorageSubject {
  const open = async (): Promise<StorageUnderTest> => {
    let current = openMemoryStorage({ runtime, durable: true })
    const next = (): Storage => change((current = current.crash('power')))
    return {
      storage: change(current),
      reopen: async () => {
        await current.close()
        return next()
      },
      crash: async () => next(),
      dispose: () => current.close(),
    }
  }
  return { features: { durable: true, crash: true }, open }
}

export function brokerOn(storage: Storage): EmbeddedBroker {
  const events = new EventHub((error) => {
    throw error
  })
  return new EmbeddedBroker(storage, runtime, events, queueDefaults())
}

/** How a broker, or the store below it, is spoilt at each opening. */
export interface BrokerFault {
  readonly storage?: (storage: Storage) => Partial<Storage>
  readonly broker?: (broker: EmbeddedBroker) => void
}

/** The embedded broker on the store in memory. */
export function memoryBroker(fault: BrokerFault = {}): BrokerSubject {
  const open = async (): Promise<BrokerUnderTest> => {
    let storage = openMemoryStorage({ runtime, durable: true })
    const start = (): EmbeddedBroker => {
      const broker = brokerOn(fault.storage === undefined ? storage : spoil<Storage>(storage, fault.storage(storage)))
      fault.broker?.(broker)
      return broker
    }
    let broker = start()
    const next = (): EmbeddedBroker => {
      storage = storage.crash('power')
      return (broker = start())
    }
    return {
      broker,
      reopen: async () => {
        await broker.close()
        return next()
      },
      crash: async () => next(),
      dispose: () => broker.close(),
    }
  }
  return { features: { durable: true, exactProgress: true, effects: true, crash: true }, open }
}
