import fs from 'node:fs'
import { QueueError } from '../errors.ts'
import type { Runtime } from '../runtime/runtime.ts'

/** File systems whose locks, memory maps or syncs do not hold what LMDB needs, by the type that `statfs` reports. */
const networkTypes: ReadonlyMap<number, string> = new Map([
  [0x6969, 'NFS'],
  [0xff534d42, 'CIFS'],
  [0xfe534d42, 'SMB2'],
  [0x517b, 'SMB'],
  [0x65735546, 'FUSE'],
  [0x01021997, '9P'],
  [0x00c36400, 'Ceph'],
  [0x5346414f, 'AFS'],
  [0x0bd00bd0, 'Lustre'],
  [0x786f4256, 'a VirtualBox share'],
])

/** @throws `UNSUPPORTED` when `directory` is on a network or user-space file system. */
export function refuseNetworkFileSystem(directory: string): void {
  const type = Number(BigInt.asUintN(32, fs.statfsSync(directory, { bigint: true }).type))
  const name = networkTypes.get(type)
  if (name === undefined) return
  throw new QueueError(
    'UNSUPPORTED',
    `${directory} is on ${name}, where flushed data and file locks can't be relied on: use a local disk, or set ` +
      'allowNetworkFileSystem if you know that it behaves like one',
    { path: directory, option: 'allowNetworkFileSystem' },
  )
}

/** Bytes that this user may still write, looked up at most once a second. */
export class DiskSpace {
  readonly #directory: string
  readonly #runtime: Runtime
  #free = 0
  #spent = 0
  #expiresAt = -Infinity

  constructor(directory: string, runtime: Runtime) {
    this.#directory = directory
    this.#runtime = runtime
  }

  get freeBytes(): number {
    const now = this.#runtime.monotonic()
    if (now >= this.#expiresAt) {
      this.#free = this.look()
      this.#spent = 0
      this.#expiresAt = now + 1_000
    }
    return Math.max(0, this.#free - this.#spent)
  }

  /** Counts bytes that may have been taken since the last look. */
  spend(bytes: number): void {
    this.#spent += bytes
  }

  /** As {@link DiskSpace.freeBytes}, from the system. */
  look(): number {
    const { bavail, bsize } = fs.statfsSync(this.#directory)
    return bavail * bsize
  }
}
