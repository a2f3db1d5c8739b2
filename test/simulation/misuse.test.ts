import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { readFile } from 'node:fs/promises'
import { setTimeout as realSleep } from 'node:timers/promises'
import { afterEach, expect, test, vi } from 'vitest'
import { explore, openTest } from '../../src/testing/index.ts'
import { order, refusal, wireShop } from './shop.ts'

afterEach(() => {
  vi.useRealTimers()
})

test('TEST-50: two verbs at once are refused, by the names of both', async () => {
  await using t = await openTest({ wire: wireShop() })
  const first = t.drain()
  const { message } = await refusal('VERB_RUNNING', () => t.settle())
  expect(message).toMatch(/^settle: drain has not ended/)
  await first
  await t.settle()
})

test('TEST-51: a sleep in the body of the test that nobody advances says so instead of hanging', async () => {
  await using t = await openTest()
  const { message } = await refusal('WOULD_HANG', () => t.clock.sleep('1h'))
  expect(message).toContain('clock.sleep(1h)')
  expect(message).toContain('advance')
})

test('TEST-51: a sleep that a verb ends is fine, also one that is aborted', async () => {
  await using t = await openTest()
  const slept = t.clock.sleep('1h')
  await t.advance('1h')
  await slept
  const abort = new AbortController()
  const aborted = t.clock.sleep('1h', { signal: abort.signal })
  abort.abort(new Error('enough'))
  await expect(aborted).rejects.toThrow('enough')
  await expect(t.clock.sleep('1h', { signal: AbortSignal.abort(new Error('before')) })).rejects.toThrow('before')
  expect((await t.drain()).elapsedMs).toBe(0)
})

test('TEST-52: a handler that waits for what never comes is named by drain', async () => {
  const t = await openTest({ wire: wireShop(() => new Promise(() => {})) })
  await t.send('orders', order('a'))
  expect((await t.settle()).idle).toBe('external')
  const { message } = await refusal('WOULD_HANG', () => t.drain())
  expect(message).toContain('billing orders[0]@0')
  expect(message).toContain('context.external')
  await refusal('LEFT_RUNNING', () => t.dispose())
})

test('TEST-53: a handler that waits for real I/O is waited for and named, and the run is impure', async () => {
  await using t = await openTest({
    wire: wireShop(async () => {
      await readFile(new URL(import.meta.url))
      await realSleep(20)
    }),
  })
  await t.send('orders', order('a'))
  const { elapsedMs, idle } = await t.settle()
  expect({ elapsedMs, idle }).toEqual({ elapsedMs: 0, idle: 'empty' })
  expect(t.impure).toEqual(['billing orders[0]@0'])
  expect(t.timeline()).toContain('external billing orders[0]@0')
})

test('TEST-53: so is one that asks a server', async () => {
  const server = createServer((_request, response) => setTimeout(() => response.end('yes'), 20))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  await using t = await openTest({ wire: wireShop(async () => void (await (await fetch(url)).text())) })
  await t.send('orders', order('a'))
  await t.drain()
  t.assert.drained()
  expect(t.impure).toEqual(['billing orders[0]@0'])
  await new Promise((resolve) => server.close(resolve))
})

test('TEST-54: one that waits longer than allowed is left running, and told', { timeout: 10_000 }, async () => {
  const abort = new AbortController()
  const t = await openTest({
    wire: wireShop(() => realSleep(60_000, undefined, { signal: abort.signal })),
    externalWaitMs: 20,
  })
  await t.send('orders', order('a'))
  const { idle, running } = await t.settle()
  expect({ idle, running }).toEqual({ idle: 'external', running: ['billing orders[0]@0'] })
  await refusal('LEFT_RUNNING', () => t.dispose())
  abort.abort()
})

test('TEST-55: context.external declares the wait: the run stays pure, and time does not move meanwhile', async () => {
  await using t = await openTest({
    wire: wireShop(async (message, context, { clock }) => {
      if (message.key === 'd') return clock.sleep('1s')
      const answer = await context.external('card service', () => realSleep(30, 'accepted'))
      expect(answer).toBe('accepted')
      expect(context.external('at once', () => 7)).toBe(7)
      await expect(
        context.external('failing', async () => {
          await realSleep(5)
          throw new Error('declined')
        }),
      ).rejects.toThrow('declined')
    }),
  })
  await Promise.all([t.send('orders', order('a')), t.send('orders', order('d'))])
  const first = await t.settle()
  expect(first).toMatchObject({ elapsedMs: 0, errors: [] })
  t.assert.delivered('billing', { key: 'a' }, { effects: 1 })
  t.assert.delivered('billing', { key: 'd' }, { effects: 0 })
  await t.drain()
  expect(t.impure).toEqual([])
  expect(t.timeline({ level: 'all' })).toContain('external billing orders[0]@0: card service')
  expect(t.timeline()).not.toContain('card service')
})

test('TEST-55: a declared wait of a handler of a crashed life never comes back, and harms nobody', async () => {
  await using t = await openTest({
    wire: wireShop((_message, context, { life }) => {
      return life === 1 ? context.external('slow', () => realSleep(30)) : undefined
    }),
  })
  await t.send('orders', order('a'))
  t.crash()
  await t.restart()
  await t.drain()
  await realSleep(40)
  await t.settle()
  expect(t.history.of('start').map(({ life }) => life)).toEqual([1, 2])
  t.assert.delivered('billing', {}, { effects: 1 })
})

test('TEST-56: fake timers that are installed are refused with the way out', async () => {
  vi.useFakeTimers()
  const { message } = await refusal('FAKE_TIMERS', () => openTest({ wire: wireShop() }))
  expect(message).toContain('vi.useRealTimers()')
  await refusal('FAKE_TIMERS', () => explore({ wire: wireShop(), scenario: () => {} }))
  vi.useRealTimers()
  await (await openTest({ wire: wireShop() })).dispose()
})

test('TEST-56: fake timers that are installed later do not freeze what is open', { timeout: 10_000 }, async () => {
  const t = await openTest({ wire: wireShop((_message, _context, { clock }) => clock.sleep('1s')), store: 'lmdb-tmp' })
  vi.useFakeTimers({ toFake: ['setTimeout', 'setImmediate', 'setInterval', 'queueMicrotask', 'Date'] })
  const sent = t.send('orders', order('a'))
  await t.drain()
  await sent
  t.assert.drained()
  vi.useRealTimers()
  await t.dispose()
})

test('TEST-57: a wiring that keeps timers of its own is refused, or allowed on purpose', async () => {
  const timers: NodeJS.Timeout[] = []
  const wire = (): void => {
    timers.push(
      setInterval(() => {}, 10_000),
      setTimeout(() => {}, 10_000),
    )
  }
  const { message } = await refusal('OWN_TIMERS', () => openTest({ wire }))
  expect(message).toContain('2 timers')
  expect(message).toContain('allowOwnTimers')
  await (await openTest({ wire, allowOwnTimers: true })).dispose()
  for (const timer of timers) clearTimeout(timer)
})

test('TEST-57: so is one whose timers do not hold the process', async () => {
  const timers: NodeJS.Timeout[] = []
  try {
    await refusal('OWN_TIMERS', () => openTest({ wire: () => void timers.push(setInterval(() => {}, 10_000).unref()) }))
  } finally {
    for (const timer of timers) clearInterval(timer)
  }
})

test('TEST-57: timers that others set meanwhile are not taken for those of the wiring', async () => {
  const opening = openTest({ wire: wireShop() })
  const other = setTimeout(() => {}, 10_000)
  try {
    await (await opening).dispose()
  } finally {
    clearTimeout(other)
  }
})

test('TEST-58: names that nobody has, and points that there are not, are refused', async () => {
  await using t = await openTest({ wire: wireShop() })
  await refusal('UNKNOWN_NAME', () => t.topic('order'))
  await refusal('UNKNOWN_NAME', () => t.group('biling'))
  await refusal('UNKNOWN_NAME', () => t.assert.published('order'))
  await refusal('INVALID_OPTION', () => t.faults.crash({ at: 'commit:durable' as 'deliver' }))
  await refusal('INVALID_OPTION', () => t.faults.crash({ at: 'deliver', kind: 'both' as 'power' }))
  await refusal('INVALID_OPTION', () => t.faults.crash({ at: 'deliver', nth: 0 }))
  await refusal('INVALID_OPTION', () => t.handler('billing').failTimes(0))
  await refusal('INVALID_OPTION', () => t.faults.slow('billing', 'long' as '1s'))
  await refusal('INVALID_OPTION', () => t.faults.crashLoop({ at: 'deliver', times: 1.5 }))
})

test('TEST-58: a fault for a group or a topic that nobody has is refused, not ignored', async () => {
  await using t = await openTest({ wire: wireShop() })
  await refusal('UNKNOWN_NAME', () => t.handler('biling').failTimes(1))
  await refusal('UNKNOWN_NAME', () => t.faults.stuck('biling'))
  await refusal('UNKNOWN_NAME', () => t.faults.crash({ at: 'deliver', group: 'biling' }))
  await refusal('UNKNOWN_NAME', () => t.faults.crash({ at: 'send:before', topic: 'order' }))
})
