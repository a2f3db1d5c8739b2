import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { OffsetQueue } from '../../../src/dispatch/offset-queue.ts'
import { runs } from '../../runs.ts'

interface Entry {
  readonly source: number
  readonly offset: number
}

const entry = fc.record({ source: fc.nat(3), offset: fc.integer({ min: 0, max: 2 ** 48 - 1 }) })
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ push: fc.array(entry, { maxLength: 60 }) }) },
  { weight: 4, arbitrary: fc.record({ shift: fc.nat(80) }) },
  { weight: 1, arbitrary: fc.record({ prepend: fc.array(entry, { maxLength: 20 }) }) },
  { weight: 1, arbitrary: fc.record({ drop: fc.nat(3) }) },
)

describe('a queue of offsets', () => {
  test('is first in, first out, with what was put back before everything else', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const queue = new OffsetQueue()
        let model: Entry[] = []
        for (const step of steps) {
          if ('push' in step) {
            for (const { source, offset } of step.push) queue.push(source, offset)
            model.push(...step.push)
          } else if ('prepend' in step) {
            queue.prepend(step.prepend)
            model.unshift(...step.prepend)
          } else if ('drop' in step) {
            const kept = model.filter(({ source }) => source !== step.drop)
            expect(queue.dropSource(step.drop)).toBe(model.length - kept.length)
            model = kept
          } else {
            for (let i = 0; i < step.shift && model.length > 0; i++) {
              expect({ source: queue.source, offset: queue.offset }).toEqual(model.shift())
              queue.shift()
            }
          }
          expect(queue.size).toBe(model.length)
        }
        for (; model.length > 0; queue.shift()) {
          expect({ source: queue.source, offset: queue.offset }).toEqual(model.shift())
        }
        expect(queue.size).toBe(0)
      }),
      runs(100),
    )
  })

  test('a million offsets pass through in order', () => {
    const queue = new OffsetQueue()
    for (let i = 0; i < 1_000_000; i++) queue.push(i % 7, i)
    for (let i = 0; i < 1_000_000; i++) {
      if (queue.offset !== i || queue.source !== i % 7) throw new Error(`${queue.offset} came out as ${i}`)
      queue.shift()
    }
    expect(queue.size).toBe(0)
  })
})
