/** An entry as the memory driver keeps it; never changed in place. */
export interface StoredEntry {
  readonly key: Uint8Array
  readonly value: Uint8Array
}

/** Order of unsigned bytes, a prefix before its extensions: the order of LMDB. */
export function compare(a: Uint8Array, b: Uint8Array): number {
  return Buffer.compare(a, b)
}

/** A copy that shares memory with nothing, so that its owner may keep or change it. */
export function copyOf(bytes: Uint8Array): Uint8Array {
  const copy = Buffer.allocUnsafeSlow(bytes.byteLength)
  copy.set(bytes)
  return copy
}
