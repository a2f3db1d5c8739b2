import { describe, expect, test } from 'vitest'
import { AcceptedSequences } from '../../../src/embedded/accepted-sequences.ts'
import { DedupeWindow } from '../../../src/embedded/dedupe-window.ts'

const place = (offset: number) => ({ partition: 0, offset, timestamp: 0 })

describe('the window of ids', () => {
  test('knows the newest ones, up to its count', () => {
    const window = new DedupeWindow({ maxCount: 1_000, maxAgeMs: Infinity })
    for (let i = 0; i < 10_000; i++) window.add(`id ${i}`, place(i), Math.floor(i / 100), i)
    expect(window.count).toBe(1_000)
    expect(window.find('id 8999', 10_000)).toBeUndefined()
    expect(window.find('id 9000', 10_000)).toMatchObject(place(9_000))
    expect(window.oldestRow).toBe(90)
  })

  test('knows them up to its age, the last millisecond included', () => {
    const window = new DedupeWindow({ maxCount: 10, maxAgeMs: 100 })
    window.add('a', place(0), 0, 0)
    window.add('b', place(1), 1, 50)
    expect(window.find('a', 100)).toMatchObject(place(0))
    expect(window.find('a', 100.5)).toBeUndefined()
    expect(window.find('b', 100.5)).toMatchObject(place(1))
    expect([window.count, window.oldestRow]).toEqual([1, 1])
  })

  test('takes the later one of two equal ids, and times that went back as the latest before', () => {
    const window = new DedupeWindow({ maxCount: 10, maxAgeMs: 100 })
    window.add('a', place(0), 0, 0)
    window.add('a', place(1), 1, -50)
    window.expire(90)
    expect(window.find('a', 90)).toMatchObject(place(1))
    window.limits = { maxCount: 1, maxAgeMs: 100 }
    expect(window.find('a', 90)).toMatchObject(place(1))
    window.limits = false
    expect(window.find('a', 90)).toBeUndefined()
  })
})

describe('accepted sequences', () => {
  const at = (sequence: number) => ({ sequence, partition: 0, offset: sequence * 10, timestamp: 1 })

  test('tell what is new, what is known with its place, what is late and what was long ago', () => {
    const sequences = new AcceptedSequences(undefined, 2)
    expect(sequences.find(0)).toEqual({ kind: 'new' })
    for (const sequence of [1, 3, 5]) sequences.add(at(sequence))
    expect(sequences.find(6)).toEqual({ kind: 'new' })
    expect(sequences.find(5)).toEqual({ kind: 'duplicate', place: at(5) })
    expect(sequences.find(4)).toEqual({ kind: 'late' })
    expect(sequences.find(0)).toEqual({ kind: 'late' })
    for (const sequence of [7, 9]) sequences.add(at(sequence))
    expect(sequences.find(3), 'forgotten').toEqual({ kind: 'duplicate', place: undefined })
    expect(sequences.find(8)).toEqual({ kind: 'late' })
  })

  test('of an earlier life: the last one has its place, what is below was sent', () => {
    const sequences = new AcceptedSequences(at(5))
    expect(sequences.find(5)).toEqual({ kind: 'duplicate', place: at(5) })
    expect(sequences.find(4)).toEqual({ kind: 'duplicate', place: undefined })
    sequences.add(at(8))
    expect(sequences.find(6)).toEqual({ kind: 'late' })
    expect(sequences.find(5)).toEqual({ kind: 'duplicate', place: at(5) })
  })
})
