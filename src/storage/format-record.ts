import { QueueError } from '../errors.ts'
import { durabilityOptions } from './lmdb-environment.ts'

/** Keys of `meta` that begin with a zero byte belong to the storage. */
export const formatKey: Uint8Array = Buffer.from('\0format')
export const epochKey: Uint8Array = Buffer.from('\0epoch')

/** Raised when an older release could not read what a newer one writes. */
export const formatVersion = 1
const magic = 'lanemq'

/** The record that makes a file ours. */
export function encodeFormat(created: number): Uint8Array {
  return Buffer.from(JSON.stringify({ magic, formatVersion, options: durabilityOptions, created }))
}

/** @throws `NOT_A_STORE`, `STORE_VERSION`, `STORE_OPTIONS` */
export function checkFormat(record: Uint8Array | undefined, path: string): void {
  const found = parse(record)
  if (found?.['magic'] !== magic) {
    throw new QueueError(
      'NOT_A_STORE',
      `${path} is an LMDB file that this package did not make: use another directory`,
      {
        path,
      },
    )
  }
  const version = found['formatVersion']
  if (typeof version !== 'number' || version > formatVersion) {
    throw new QueueError(
      'STORE_VERSION',
      `${path} has format version ${String(version)}, this release reads up to ${formatVersion}: update the package`,
      { path, value: version, allowed: `up to ${formatVersion}` },
    )
  }
  if (JSON.stringify(found['options']) !== JSON.stringify(durabilityOptions)) {
    throw new QueueError(
      'STORE_OPTIONS',
      `${path} was written with other storage settings, which makes its last commits unreadable with ours`,
      { path, value: found['options'], allowed: JSON.stringify(durabilityOptions) },
    )
  }
}

function parse(record: Uint8Array | undefined): Record<string, unknown> | undefined {
  if (record === undefined) return undefined
  try {
    return JSON.parse(Buffer.from(record).toString()) as Record<string, unknown>
  } catch {
    return undefined
  }
}
