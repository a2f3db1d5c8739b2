import { describe, expect, test } from 'vitest'
import { IntakeRing } from '../../../src/dispatch/intake-ring.ts'
import { fakeIntake } from './fake-intake.ts'

describe('the ring of readable partitions', () => {
  test('partitions take turns of 64 messages', () => {
    const ring = new IntakeRing()
    for (let number = 0; number < 3; number++) ring.add(fakeIntake({ number }))
    const turns: [number, number][] = []
    for (let i = 0; i < 64 * 7; i++) {
      const { number } = ring.take()!
      const last = turns.at(-1)
      if (last?.[0] === number) last[1]++
      else turns.push([number, 1])
    }
    expect(turns).toEqual([0, 1, 2, 0, 1, 2, 0].map((number) => [number, 64]))
  })

  test('an empty ring gives none, and a partition is in it once', () => {
    const ring = new IntakeRing()
    expect(ring.take()).toBeUndefined()
    const intake = fakeIntake()
    ring.add(intake)
    ring.add(intake)
    expect([ring.size, ring.take()]).toEqual([1, intake])
    ring.remove(intake)
    ring.remove(intake)
    expect([ring.size, ring.take(), intake.isReadable]).toEqual([0, undefined, false])
  })

  test('partitions that are paused or ended stay out', () => {
    const ring = new IntakeRing()
    const [paused, ended] = [fakeIntake(), fakeIntake()]
    paused.isPaused = true
    ended.isEnded = true
    ring.add(paused)
    ring.add(ended)
    expect(ring.size).toBe(0)
  })

  test('removing one keeps the turns of the others', () => {
    const intakes = [0, 1, 2, 3].map((number) => fakeIntake({ number }))
    for (const removed of intakes) {
      const ring = new IntakeRing()
      for (const intake of intakes) {
        intake.isReadable = false
        ring.add(intake)
      }
      for (let i = 0; i < 64 * 2; i++) ring.take()
      ring.remove(removed)
      const seen = new Set<number>()
      for (let i = 0; i < 64 * 3; i++) seen.add(ring.take()!.number)
      expect(seen).toEqual(new Set([0, 1, 2, 3].filter((number) => number !== removed.number)))
    }
  })
})
