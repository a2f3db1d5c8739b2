import type { Storage } from '../../contracts/storage.ts'
import type { Runtime } from '../../runtime/runtime.ts'
import { openMemoryStorage, type MemoryStorage } from '../../storage/memory-storage.ts'

/** A store that can lose its process or its power, and be opened again on what survived. */
export interface CrashableStorage extends Storage {
  readonly faults: { diskFreeBytes?: number }
  /** Ends this handle at once; promises of it that have not settled never will. */
  crash(kind: 'process' | 'power', next: Runtime): CrashableStorage | Promise<CrashableStorage>
}

export function memoryStorage(runtime: Runtime): MemoryStorage {
  return openMemoryStorage({ runtime, durable: true })
}
