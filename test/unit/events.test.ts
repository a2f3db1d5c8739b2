import { channel } from 'node:diagnostics_channel'
import { describe, expect, test } from 'vitest'
import { channelPrefix, EventHub } from '../../src/events.ts'

const payload = { topic: 'orders', partitions: 8 }

describe('events', () => {
  test('listeners get the payload until they are taken off', () => {
    const hub = new EventHub(() => {})
    const seen: unknown[] = []
    const listener = (given: unknown): void => void seen.push(given)
    hub.on('topic:created', listener)
    hub.emit('topic:created', payload)
    hub.emit('topic:deleted', { topic: 'other' })
    hub.off('topic:created', listener)
    hub.emit('topic:created', payload)
    expect(seen).toEqual([payload])
  })

  test('what a listener throws is reported, and the other listeners still hear', () => {
    const reported: unknown[] = []
    const hub = new EventHub((error) => reported.push(error))
    const fault = new Error('mine')
    const seen: string[] = []
    hub.on('topic:created', () => void seen.push('first'))
    hub.on('topic:created', () => {
      throw fault
    })
    hub.on('topic:created', () => void seen.push('last'))
    hub.emit('topic:created', payload)
    expect(reported).toEqual([fault])
    expect(seen).toEqual(['first', 'last'])
  })

  test('a listener may take itself off while it is told', () => {
    const hub = new EventHub(() => {})
    let first = 0
    let second = 0
    const once = (): void => {
      first++
      hub.off('topic:created', once)
    }
    hub.on('topic:created', once)
    hub.on('topic:created', () => void second++)
    hub.emit('topic:created', payload)
    hub.emit('topic:created', payload)
    expect([first, second]).toEqual([1, 2])
  })

  test('clear takes every listener off', () => {
    const hub = new EventHub(() => {})
    let count = 0
    hub.on('topic:created', () => void count++)
    hub.clear()
    hub.emit('topic:created', payload)
    expect(count).toBe(0)
  })

  test('every event is published on the diagnostics channel of its name', () => {
    const hub = new EventHub(() => {})
    const seen: unknown[] = []
    const subscriber = (message: unknown, name: string | symbol): void => void seen.push([name, message])
    const diagnostics = channel(`${channelPrefix}topic:created`)
    diagnostics.subscribe(subscriber)
    hub.emit('topic:created', payload)
    diagnostics.unsubscribe(subscriber)
    hub.emit('topic:created', payload)
    expect(seen).toEqual([['lanemq:topic:created', payload]])
  })
})
