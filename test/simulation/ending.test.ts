import { beforeEach, expect, test, vi } from 'vitest'
import { explore, type ExploreOptions, type Wire } from '../../src/testing/index.ts'
import { order, refusal, wireShop, type Shop } from './shop.ts'

/** Real time that a test lets pass without waiting for it. */
const real = vi.hoisted(() => ({ passedMs: 0 }))

vi.mock(import('../../src/testing/real-loop.ts'), async (original) => {
  const loop = await original()
  return { ...loop, realMs: () => loop.realMs() + real.passedMs }
})

beforeEach(() => {
  real.passedMs = 0
})

function exploration(wire: Wire<Shop>, more: Partial<ExploreOptions<Shop>> = {}): ExploreOptions<Shop> {
  return { wire, scenario: (t) => t.send('orders', order('a')), report: () => {}, ...more }
}

test('TEST-145: a failure whose shrinking would take for ever is told with the smallest one so far', async () => {
  let runs = 0
  const options = exploration(wireShop(), {
    scenario: async (t) => {
      await t.send('orders', order('a'))
      await t.send('orders', order('d'))
    },
    // A run of twenty seconds.
    reset: () => {
      runs++
      real.passedMs += 20_000
    },
    check: (t) => {
      if (t.history.of('fault').length > 1) throw new Error('two faults')
    },
    faults: ['handlerError', 'slow', 'duplicate'],
    budget: { runs: 1_000 },
  })
  const error = await refusal('EXPLORATION_FAILED', () => explore(options))
  // Without either of them it passes, which took forty seconds to try with none and with one of them; the other stays untried.
  expect(error.message).toMatch(/shrunk 2 -> 2 deviations \(2 runs, 4\d{4} ms, not to the end\)/)
  expect(error.message).toContain('replay: LANEMQ_REPLAY=')
  // Found, repeated, and two to shrink.
  expect(runs).toBe((error as unknown as { readonly runs: number }).runs + 1 + 2)
})

test('TEST-146: a run that only sleeps ends by real time', async () => {
  const wire = wireShop(async (_message, _context, { clock }) => {
    for (;;) {
      await clock.sleep('1ms')
      real.passedMs += 100
    }
  })
  const { message } = await refusal('EXPLORATION_FAILED', () => explore(exploration(wire)))
  expect(message).toContain('drain broken')
  expect(message).toContain('the run has not ended after 60000 ms of real time')
  expect(message).toContain('in the plain run')
})

test('TEST-146: a scenario that calls verbs for ever ends too', async () => {
  const scenario: ExploreOptions<Shop>['scenario'] = async (t) => {
    for (;;) {
      await t.settle()
      real.passedMs += 100
    }
  }
  const { message } = await refusal('EXPLORATION_FAILED', () => explore(exploration(wireShop(), { scenario })))
  expect(message).toContain('scenario broken')
  expect(message).toContain('60000 ms of real time')
})

test('TEST-146: a client that never finds room ends, however long it waits between its tries', async () => {
  const scenario: ExploreOptions<Shop>['scenario'] = (t) => {
    t.faults.storeFull()
    return t.send('orders', order('a'))
  }
  const always = { 'time passes': () => void (real.passedMs += 3_000) }
  const { message } = await refusal('EXPLORATION_FAILED', () => explore(exploration(wireShop(), { scenario, always })))
  expect(message).toContain('scenario broken')
  expect(message).toContain('60000 ms of real time')
})
