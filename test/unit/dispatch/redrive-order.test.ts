import { expect, test } from 'vitest'
import { inKeyOrder } from '../../../src/dispatch/redrive-order.ts'

/** 'a2' is a letter of lane a whose message was at offset 2; 'a1/2' was in partition 1; '-3' has no key. */
function ordered(...letters: string[]): string[] {
  const parsed = letters.map((name) => {
    const [partition, offset] = name.includes('/') ? name.slice(1).split('/') : ['0', name.slice(1)]
    const lane = name.startsWith('-') ? undefined : name.charCodeAt(0)
    return { name, lane, origin: { partition: Number(partition), offset: Number(offset) } }
  })
  return inKeyOrder(parsed).map(({ name }) => name)
}

test('letters keep their order, but those of a key take the places of each other by where they were', () => {
  expect(ordered()).toEqual([])
  expect(ordered('b9', 'a1', 'a2', 'b10')).toEqual(['b9', 'a1', 'a2', 'b10'])
  expect(ordered('a2', 'b5', 'a3', 'b1', 'a1')).toEqual(['a1', 'b1', 'a2', 'b5', 'a3'])
})

test('letters without a key stay where they are, and partitions are not mixed', () => {
  expect(ordered('-3', 'a2', '-1', 'a1', '-2')).toEqual(['-3', 'a1', '-1', 'a2', '-2'])
  expect(ordered('a1/2', 'a0/9', 'a1/1')).toEqual(['a0/9', 'a1/1', 'a1/2'])
})
