/** An entry as the memory driver keeps it; never changed in place. */
export interface StoredEntry {
  readonly key: Uint8Array
  readonly value: Uint8Array
}

/** Order of unsigned bytes, a prefix before its extensions: the order of LMDB. */
export function compare(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length)
  // Keys of the log are short: a loop beats the call into native code by far.
  if (length > 32) return Buffer.compare(a, b)
  for (let i = 0; i < length; i++) {
    const difference = (a[i] as number) - (b[i] as number)
    if (difference !== 0) return difference
  }
  return a.length - b.length
}

/** A copy that its owner may keep or change; small ones are cut from a pool. */
export function copyOf(bytes: Uint8Array): Uint8Array {
  return Buffer.from(bytes)
}

/** A copy that pins no pool, for what stays. */
export function keptCopyOf(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes)
}
