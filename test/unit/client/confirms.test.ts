import { describe, expect, test } from 'vitest'
import { Confirms, type Confirmation, type OpenSend } from '../../../src/client/confirms.ts'
import type { SendResult } from '../../../src/index.ts'

const resultAt = (offset: number): SendResult[] => [
  { partition: 0, offset, timestamp: 0, acks: 'flushed', duplicate: false },
]

/** What was told, in as few words as possible. */
function told(confirmations: readonly Confirmation[]): string[] {
  return confirmations.map(({ kind, event }) => {
    const about = 'error' in event ? String(event.error) : event.results.map(({ offset }) => offset).join()
    return `${kind} ${event.multiple ? '<=' : ''}${event.sequence} ${about}`
  })
}

function begun(confirms: Confirms, count: number): OpenSend[] {
  return Array.from({ length: count }, (_, i) => confirms.begin(i + 1))
}

describe('what is told of settled sends', () => {
  test('ONCE-80: those that failed together are told of by one event, others each with their error', () => {
    const confirms = new Confirms()
    const sends = begun(confirms, 6)
    const failure = { error: 'full' }
    sends.slice(0, 3).forEach((send) => confirms.settle(send, undefined, failure))
    confirms.settle(sends[3]!, undefined, { error: 'late' })
    confirms.settle(sends[4]!, resultAt(0), undefined)
    confirms.settle(sends[5]!, resultAt(1), undefined)
    expect(told(confirms.take())).toEqual(['nack <=3 full', 'nack 4 late', 'ack <=6 0,1'])
    expect([confirms.open, confirms.told]).toEqual([0, 6])
  })

  test('ONCE-80: behind an open one each is told of alone, and its event means no other then', () => {
    const confirms = new Confirms()
    const sends = begun(confirms, 4)
    const failure = { error: 'full' }
    confirms.settle(sends[1]!, undefined, failure)
    confirms.settle(sends[2]!, undefined, failure)
    expect(told(confirms.take())).toEqual(['nack 2 full', 'nack 3 full'])
    expect([confirms.open, confirms.told, confirms.lastOpen]).toEqual([2, 0, sends[3]])
    confirms.settle(sends[0]!, undefined, failure)
    expect(told(confirms.take())).toEqual(['nack 1 full'])
    confirms.settle(sends[3]!, resultAt(0), undefined)
    expect(told(confirms.take())).toEqual(['ack 4 0'])
    expect([confirms.open, confirms.told, confirms.begun]).toEqual([0, 4, 4])
  })

  test('ONCE-80: an error that is undefined is one too, and not the same as none', () => {
    const confirms = new Confirms()
    const sends = begun(confirms, 3)
    confirms.settle(sends[0]!, undefined, { error: undefined })
    confirms.settle(sends[1]!, undefined, { error: undefined })
    confirms.settle(sends[2]!, resultAt(0), undefined)
    expect(told(confirms.take())).toEqual(['nack <=2 undefined', 'ack 3 0'])
  })

  test('what was told is kept no longer than until those before it are', () => {
    const confirms = new Confirms()
    for (let round = 0; round < 5_000; round++) {
      confirms.settle(confirms.begin(round), resultAt(round), undefined)
      expect(confirms.take()).toHaveLength(1)
    }
    expect([confirms.open, confirms.told, confirms.begun]).toEqual([0, 5_000, 5_000])
  })
})
