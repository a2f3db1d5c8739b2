import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { assign, type Slot } from '../../../src/groups/assignment.ts'
import { runs } from '../../runs.ts'

const members = fc.uniqueArray(fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'), { maxLength: 6 })
// Owners may be members, members that left, or nobody.
const owners = fc.array(fc.option(fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'gone'), { nil: undefined }), {
  maxLength: 40,
})

const slotsOf = (given: readonly (string | undefined)[]): Slot[] => given.map((owner, i) => ({ id: i * 3, owner }))

function countBy(target: ReadonlyMap<number, string>, names: readonly string[]): number[] {
  return names.map((name) => [...target.values()].filter((owner) => owner === name).length)
}

/** How many partitions have to move at least, whatever is chosen: those above the largest shares allowed, and free ones. */
function leastMoves(slots: readonly Slot[], names: readonly string[]): number {
  const held = names.map((name) => slots.filter(({ owner }) => owner === name).length).toSorted((x, y) => y - x)
  const share = Math.floor(slots.length / names.length)
  const extra = slots.length % names.length
  return slots.length - held.reduce((kept, count, i) => kept + Math.min(count, share + (i < extra ? 1 : 0)), 0)
}

describe('assignment', () => {
  test('is complete, as even as can be, and moves no more than that needs', () => {
    fc.assert(
      fc.property(owners, members, (given, names) => {
        const slots = slotsOf(given)
        const target = assign(slots, names)
        if (names.length === 0) {
          expect(target.size).toBe(0)
          return
        }
        expect([...target.keys()].toSorted((x, y) => x - y)).toEqual(slots.map(({ id }) => id))
        const counts = countBy(target, names)
        expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1)
        const moved = slots.filter(({ id, owner }) => target.get(id) !== owner).length
        expect(moved).toBe(leastMoves(slots, names))
      }),
      runs(400),
    )
  })

  test('is stable: what it chose, it chooses again', () => {
    fc.assert(
      fc.property(owners, members, (given, names) => {
        const target = assign(slotsOf(given), names)
        const again = assign(
          [...target].map(([id, owner]) => ({ id, owner })),
          names,
        )
        expect(again).toEqual(target)
      }),
      runs(200),
    )
  })

  test('members beyond the number of partitions get none', () => {
    expect(countBy(assign(slotsOf([undefined, undefined]), ['a', 'b', 'c']), ['a', 'b', 'c'])).toEqual([1, 1, 0])
  })

  test('a member that joins takes its share from the others, and from nobody more than needed', () => {
    const before = slotsOf(['a', 'a', 'a', 'a', 'b', 'b', 'b', 'b'])
    const target = assign(before, ['a', 'b', 'c'])
    expect(countBy(target, ['a', 'b', 'c'])).toEqual([3, 3, 2])
    expect(before.filter(({ id, owner }) => target.get(id) !== owner)).toHaveLength(2)
  })
})
