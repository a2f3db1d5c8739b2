import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Deadlines, type Expiring } from '../../../src/dispatch/deadlines.ts'
import { VirtualRuntime } from '../../../src/testing/virtual-runtime.ts'
import { runs } from '../../runs.ts'

class Call implements Expiring {
  dueAt: number
  place = -1
  expiredAt: number | undefined
  readonly #runtime: VirtualRuntime

  constructor(dueAt: number, runtime: VirtualRuntime) {
    this.dueAt = dueAt
    this.#runtime = runtime
  }

  expire(): void {
    this.expiredAt = this.#runtime.monotonic()
  }
}

describe('deadlines', () => {
  test('come when they are due, unless they were met or moved; one timer is enough', async () => {
    const step = fc.oneof(
      fc.record({ add: fc.nat(30) }),
      fc.record({ remove: fc.nat(20) }),
      fc.record({ move: fc.nat(20), to: fc.nat(30) }),
      fc.record({ advance: fc.integer({ min: 1, max: 12 }) }),
    )
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const runtime = new VirtualRuntime()
        const deadlines = new Deadlines(runtime, 'limit')
        const begin = runtime.monotonic()
        const calls: Call[] = []
        const open = new Set<Call>()
        const expected = new Map<Call, number>()
        for (const one of steps) {
          const now = runtime.monotonic()
          if ('add' in one) {
            const call = new Call(now + one.add, runtime)
            calls.push(call)
            open.add(call)
            deadlines.add(call)
          } else if ('remove' in one) {
            const call = calls[one.remove]
            if (call === undefined) continue
            deadlines.remove(call)
            open.delete(call)
          } else if ('move' in one) {
            const call = calls[one.move]
            if (call !== undefined && open.has(call)) deadlines.move(call, now + one.to)
          } else {
            await runtime.advance(one.advance)
            for (const call of open) {
              if (call.dueAt > now + one.advance) continue
              expected.set(call, call.dueAt)
              open.delete(call)
            }
          }
          expect(deadlines.size).toBe(open.size)
          expect(runtime.timers().length).toBeLessThanOrEqual(1)
        }
        for (const call of calls) expect(call.expiredAt).toBe(expected.get(call))
        expect(runtime.monotonic()).toBeGreaterThanOrEqual(begin)
        deadlines.stop()
        expect([deadlines.size, runtime.timers()]).toEqual([0, []])
        for (const call of calls) expect(call.place).toBe(-1)
      }),
      runs(200),
    )
  })

  test('without any, rest takes the timer away; a deadline at Infinity needs none', () => {
    const runtime = new VirtualRuntime()
    const deadlines = new Deadlines(runtime, 'limit')
    const [first, never] = [new Call(5, runtime), new Call(Infinity, runtime)]
    deadlines.add(never)
    expect(runtime.timers()).toEqual([])
    deadlines.add(first)
    deadlines.remove(first)
    deadlines.rest()
    expect(runtime.timers()).toHaveLength(1)
    deadlines.remove(never)
    deadlines.rest()
    expect(runtime.timers()).toEqual([])
  })
})
