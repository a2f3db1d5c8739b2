export { VirtualRuntime, type VirtualRuntimeOptions } from './virtual-runtime.ts'
export { storageSuite } from './storage-suite.ts'
export { openMemoryStorage } from '../storage/memory-storage.ts'
export { openOn, queueDefaults } from '../open.ts'
