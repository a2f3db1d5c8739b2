import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { DueQueue } from '../../../src/dispatch/due-queue.ts'
import { runs } from '../../runs.ts'

describe('a queue by due time', () => {
  test('gives items out in the order they become due, ties as they came, and none early', () => {
    const step = fc.oneof(fc.record({ push: fc.nat(20) }), fc.record({ now: fc.nat(25) }))
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const queue = new DueQueue<number>()
        let model: { dueAt: number; item: number }[] = []
        let added = 0
        for (const step of steps) {
          if ('push' in step) {
            queue.push(step.push, added)
            model.push({ dueAt: step.push, item: added++ })
            model = model.toSorted((a, b) => a.dueAt - b.dueAt || a.item - b.item)
          } else {
            const next = model[0]
            const due = next !== undefined && next.dueAt <= step.now ? model.shift()!.item : undefined
            expect(queue.shiftDue(step.now)).toBe(due)
          }
          expect(queue.size).toBe(model.length)
          expect(queue.nextDueAt).toBe(model[0]?.dueAt ?? Infinity)
        }
      }),
      runs(200),
    )
  })
})
