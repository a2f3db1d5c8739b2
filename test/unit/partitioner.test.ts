import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { murmur2, murmur2OfText, partitionOf } from '../../src/partitioner.ts'
import { runs } from '../runs.ts'

/** From `UtilsTest.testMurmur2` of Kafka's Java client. */
const vectors: [string, number][] = [
  ['21', -973932308],
  ['foobar', -790332482],
  ['a-little-bit-long-string', -985981536],
  ['a-little-bit-longer-string', -1486304829],
  ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
  ['abc', 479470107],
]

describe('partitioner', () => {
  test.each(vectors)('the hash of %s is that of the Java client', (text, hash) => {
    expect(murmur2(Buffer.from(text))).toBe(hash)
    expect(murmur2OfText(text)).toBe(hash)
  })

  test('text of any script hashes as its UTF-8 bytes', () => {
    const texts = fc.oneof(fc.string({ unit: 'binary' }), fc.string({ unit: 'grapheme' }), fc.string())
    fc.assert(
      fc.property(texts, (text) => murmur2OfText(text) === murmur2(Buffer.from(text, 'utf8'))),
      runs(500),
    )
  })

  test('a key goes to toPositive(hash) modulo the number of partitions', () => {
    for (const [text, hash] of vectors) {
      for (const partitions of [1, 2, 3, 8, 4096]) {
        expect(partitionOf(text, partitions)).toBe((hash & 0x7fffffff) % partitions)
      }
    }
  })

  test('many keys spread over all partitions', () => {
    const counts = new Array<number>(8).fill(0)
    for (let i = 0; i < 8000; i++) counts[partitionOf(`order-${i}`, 8)]!++
    expect(Math.min(...counts)).toBeGreaterThan(800)
    expect(Math.max(...counts)).toBeLessThan(1200)
  })
})
