import { seededRandom } from './statistics.js'

/** Bytes of one message, unless a bench says otherwise. */
export const MESSAGE_BYTES = 100

/** Distinct values of 100 bytes, random so that nothing on the way can compress them. @param {number} count */
export function byteValues(count, size = MESSAGE_BYTES) {
  const random = seededRandom(1)
  const slab = Buffer.allocUnsafeSlow(count * size)
  for (let at = 0; at + 4 <= slab.length; at += 4) slab.writeUInt32LE((random() * 4_294_967_296) >>> 0, at)
  return Array.from({ length: count }, (_, index) => slab.subarray(index * size, (index + 1) * size))
}

/** Distinct small objects whose JSON text is about 100 bytes. @param {number} count */
export function objectValues(count) {
  const random = seededRandom(2)
  const states = ['open', 'paid', 'sent', 'void']
  return Array.from({ length: count }, (_, index) => ({
    id: `o-${String(index).padStart(7, '0')}`,
    customer: Math.floor(random() * 1_000_000),
    amount: Math.floor(random() * 100_000) / 100,
    currency: 'EUR',
    state: states[index % states.length],
    express: index % 3 === 0,
  }))
}

/** One key for each message, drawn at random out of `keys` of them. @param {number} count @param {number} keys */
export function randomKeys(count, keys) {
  const random = seededRandom(3)
  const names = Array.from({ length: keys }, (_, index) => `key-${index}`)
  return Array.from({ length: count }, () => names[Math.floor(random() * keys)])
}

/**
 * Batches for `sendBatch`, built before the clock starts: building messages is the application's work.
 *
 * @param {readonly unknown[]} values @param {number} size @param {readonly string[]} [keys]
 */
export function batchesOf(values, size, keys) {
  const batches = []
  for (let start = 0; start < values.length; start += size) {
    batches.push(
      values
        .slice(start, start + size)
        .map((value, index) => (keys ? { key: keys[(start + index) % keys.length], value } : { value })),
    )
  }
  return batches
}
