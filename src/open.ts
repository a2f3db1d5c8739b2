import { MessageQueue, type StoreOperations } from './client/message-queue.ts'
import type { QueueObserver } from './client/observer.ts'
import type { OpenOptions, QueueOptions } from './client/queue-options.ts'
import { queueFields, type ResolvedQueueOptions } from './client/resolve.ts'
import type { Storage } from './contracts/storage.ts'
import { turnsAfter } from './dispatch/careful-turns.ts'
import { EmbeddedBroker } from './embedded/embedded-broker.ts'
import { verifyStore } from './embedded/verify.ts'
import { EventHub } from './events.ts'
import { custom, flagged, integer, required, resolveOptions } from './options.ts'
import { realRuntime } from './runtime/real-runtime.ts'
import type { Runtime } from './runtime/runtime.ts'

/** A queue that keeps everything in memory: for tests and caches. Nothing of it survives the process. */
export interface InMemoryMessageQueue extends MessageQueue {
  /** Says that nothing is on disk. */
  readonly durability: 'memory'
}

const openFields = {
  ...queueFields,
  path: required(
    custom<string>('a non-empty path', (value) => typeof value === 'string' && value !== '' && !value.includes('\0')),
  ),
  commitTimeoutMs: integer(100, 3_600_000, 30_000),
  minFreeBytes: integer(0, 2 ** 50, 64 * 2 ** 20),
  allowNetworkFileSystem: flagged(false),
}

/**
 * Opens the queue in a directory, creating it when it is absent, and owns it until it is closed.
 *
 * @throws `STORE_LOCKED` while another process or thread owns it; `STORE_CORRUPT`, `NOT_A_STORE`, `STORE_VERSION`,
 * `STORE_OPTIONS`, `STORE_UNWRITABLE`, `STORE_FULL`, `UNSUPPORTED` when it can't be opened safely; `INVALID_OPTION`
 */
export async function open(options: OpenOptions): Promise<MessageQueue> {
  const resolved = resolveOptions<OpenOptions>(options, openFields, 'open') as Required<OpenOptions>
  const { path, commitTimeoutMs, allowNetworkFileSystem, ...rest } = resolved
  // Loaded here, so that who never opens a store on disk never loads the native library.
  const { openLmdbStorage } = await import('./storage/lmdb-storage.ts')
  const storage = await openLmdbStorage({ path, runtime: realRuntime, commitTimeoutMs, allowNetworkFileSystem })
  return openOn(storage, realRuntime, rest)
}

/** Opens an empty queue in memory. It behaves as {@link open}'s, but nothing survives; sends report `acks: 'memory'`. */
export async function openInMemory(options?: QueueOptions): Promise<InMemoryMessageQueue> {
  const resolved = resolveOptions<QueueOptions>(options, queueFields, 'openInMemory') as ResolvedQueueOptions
  const { openMemoryStorage } = await import('./storage/memory-storage.ts')
  const queue = await openOn(openMemoryStorage({ runtime: realRuntime }), realRuntime, { ...resolved, minFreeBytes: 0 })
  return Object.defineProperty(queue, 'durability', { value: 'memory', enumerable: true }) as InMemoryMessageQueue
}

/** Wires a queue onto a storage and a runtime: the composition that production and tests share. @internal */
export async function openOn(
  storage: Storage,
  runtime: Runtime,
  options: ResolvedQueueOptions & { readonly minFreeBytes: number; readonly bytesPerLook?: number },
  observer?: QueueObserver,
): Promise<MessageQueue> {
  const events = new EventHub(reportListenerFault)
  let broker: EmbeddedBroker
  try {
    broker = new EmbeddedBroker(storage, runtime, events, options)
  } catch (error) {
    await storage.close()
    throw error
  }
  const turns = turnsAfter(broker.ends, runtime)
  observer?.opened(broker, events, turns)
  const store: StoreOperations = {
    stats: () => {
      const { storage: of, ...rest } = broker.stats()
      return { ...of, ...rest }
    },
    backup: async (path) => {
      await broker.flush()
      await broker.exclusive(() => storage.backup(path))
    },
    compact: () => broker.exclusive(() => storage.compact()),
    verify: () => broker.exclusive(() => verifyStore(broker, runtime)),
  }
  return new MessageQueue({ broker, runtime, events, store, closeTimeoutMs: options.closeTimeoutMs, turns, observer })
}

/** Defaults of {@link QueueOptions}, for those who open a queue by {@link openOn}. @internal */
export function queueDefaults(): ResolvedQueueOptions & { minFreeBytes: number } {
  return { ...(resolveOptions<QueueOptions>({}, queueFields, 'queue') as ResolvedQueueOptions), minFreeBytes: 0 }
}

function reportListenerFault(error: unknown): void {
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error)
  realRuntime.warn(`a lanemq event listener threw: ${text}`)
}
