/**
 * The hash that Kafka's Java client uses for keys, as a signed 32-bit number.
 *
 * @remarks Semantics: `org.apache.kafka.common.utils.Utils.murmur2` (seed 0x9747b28c).
 */
export function murmur2(data: Uint8Array): number {
  const length = data.length
  let h = 0x9747b28c ^ length
  const end = length & ~3
  let i = 0
  for (; i < end; i += 4) {
    h = mix(h, data[i]! | (data[i + 1]! << 8) | (data[i + 2]! << 16) | (data[i + 3]! << 24))
  }
  return finish(h, length & 3, data[i] ?? 0, data[i + 1] ?? 0, data[i + 2] ?? 0)
}

/** {@link murmur2} of a text's UTF-8 bytes; ASCII, the usual case, is hashed without encoding it first. */
export function murmur2OfText(text: string): number {
  const length = text.length
  let h = 0x9747b28c ^ length
  let seen = 0
  const end = length & ~3
  let i = 0
  for (; i < end; i += 4) {
    const a = text.charCodeAt(i)
    const b = text.charCodeAt(i + 1)
    const c = text.charCodeAt(i + 2)
    const d = text.charCodeAt(i + 3)
    seen |= a | b | c | d
    h = mix(h, a | (b << 8) | (c << 16) | (d << 24))
  }
  const rest = length & 3
  const a = rest > 0 ? text.charCodeAt(i) : 0
  const b = rest > 1 ? text.charCodeAt(i + 1) : 0
  const c = rest > 2 ? text.charCodeAt(i + 2) : 0
  if ((seen | a | b | c) > 0x7f) return murmur2(Buffer.from(text, 'utf8'))
  return finish(h, rest, a, b, c)
}

const m = 0x5bd1e995

function mix(h: number, word: number): number {
  let k = Math.imul(word, m)
  k ^= k >>> 24
  k = Math.imul(k, m)
  return Math.imul(h, m) ^ k
}

function finish(hash: number, rest: number, a: number, b: number, c: number): number {
  let h = hash
  if (rest === 3) h ^= c << 16
  if (rest >= 2) h ^= b << 8
  if (rest >= 1) h = Math.imul(h ^ a, m)
  h ^= h >>> 13
  h = Math.imul(h, m)
  return h ^ (h >>> 15)
}

/**
 * The partition of a key: the same one that Kafka's Java client chooses.
 *
 * @remarks Semantics: `BuiltInPartitioner.partitionForKey`, that is `toPositive(murmur2(key)) % partitions`.
 */
export function partitionOf(key: string, partitions: number): number {
  return (murmur2OfText(key) & 0x7fffffff) % partitions
}
