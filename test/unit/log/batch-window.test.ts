import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { BatchWindow } from '../../../src/log/batch-window.ts'
import type { StoredBatch } from '../../../src/log/record-batch.ts'
import { runs } from '../../runs.ts'

const step = fc.oneof(
  { weight: 3, arbitrary: fc.record({ count: fc.integer({ min: 1, max: 9 }), buffered: fc.boolean() }) },
  { weight: 2, arbitrary: fc.constant('shift' as const) },
)

describe('a window of consecutive batches', () => {
  test('finds every offset and the end of what is buffered, as a plain array does', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300, size: 'max' }), (steps) => {
        const window = new BatchWindow()
        const model: StoredBatch[] = []
        let end = 0
        for (const step of steps) {
          if (step === 'shift') expect(window.shift()).toBe(model.shift())
          else {
            const { count, buffered } = step
            const batch = { baseOffset: end, count, nextOffset: end + count, buffered } as StoredBatch
            end += count
            window.push(batch)
            model.push(batch)
          }
          expect(window.size).toBe(model.length)
          expect(window.oldest).toBe(model[0])
        }
        const start = model[0]?.baseOffset ?? end
        for (let offset = Math.max(0, start - 3); offset < end + 3; offset++) {
          const found = model.find(({ baseOffset, nextOffset }) => offset >= baseOffset && offset < nextOffset)
          expect(window.find(offset), `batch of ${offset}`).toBe(found)
        }
        for (const from of [start, ...model.map(({ nextOffset }) => nextOffset)]) {
          let expected = from
          for (const batch of model) {
            if (batch.nextOffset <= expected) continue
            if (!batch.buffered || batch.baseOffset !== expected) break
            expected = batch.nextOffset
          }
          expect(window.bufferedEnd(from), `buffered from ${from}`).toBe(expected)
        }
      }),
      runs(60),
    )
  })
})
