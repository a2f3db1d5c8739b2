import { describe, expect, test } from 'vitest'
import { SendGate, type SendLimits } from '../../../src/embedded/send-gate.ts'
import { QueueError } from '../../../src/errors.ts'

const limits: SendLimits = { maxInFlightBytes: 100, onFull: 'wait', maxWaitingSends: 3, minFreeBytes: 1000 }

/** A gate whose surroundings are numbers that the test sets. */
class Scene {
  inFlight = 0
  free = 1e9
  readonly full: boolean[] = []
  /** Names of sends, in the order they went in. */
  readonly entered: string[] = []
  readonly gate: SendGate

  constructor(given: Partial<SendLimits> = {}) {
    this.gate = new SendGate(
      { ...limits, ...given },
      {
        inFlightBytes: () => this.inFlight,
        diskFreeBytes: () => this.free,
        fullChanged: (full) => this.full.push(full),
      },
    )
  }

  /** As a topic does it: enters at once or waits its turn. */
  async send(name: string, bytes = 10, signal?: AbortSignal): Promise<string> {
    const start = async (): Promise<string> => {
      this.inFlight += bytes
      this.entered.push(name)
      return name
    }
    return this.gate.enter(bytes) ? start() : this.gate.wait(bytes, signal, start)
  }

  /** A commit flushed so many bytes. */
  flush(bytes: number): void {
    this.inFlight -= bytes
    this.gate.admit()
  }
}

const refused = (code: string): unknown => expect.objectContaining({ code })

describe('the send gate', () => {
  test('BOUND-26: bytes in flight never pass the limit; sends wait and enter in the order of their calls', async () => {
    const scene = new Scene()
    await scene.send('a', 60)
    await scene.send('b', 40)
    const waiting = [scene.send('c', 50), scene.send('d', 1), scene.send('e', 30)]
    expect([scene.entered, scene.gate.waiting]).toEqual([['a', 'b'], 3])
    scene.flush(40)
    expect(scene.entered, 'd would fit, but c comes first').toEqual(['a', 'b'])
    scene.flush(20)
    expect(scene.entered).toEqual(['a', 'b', 'c', 'd'])
    expect(scene.inFlight).toBe(91)
    scene.flush(91)
    expect(await Promise.all(waiting)).toEqual(['c', 'd', 'e'])
    expect(scene.gate.waiting).toBe(0)
  })

  test('a new send does not overtake those that wait', async () => {
    const scene = new Scene()
    await scene.send('a', 100)
    const first = scene.send('b', 100)
    scene.inFlight = 50
    const second = scene.send('c', 10)
    expect(scene.entered).toEqual(['a'])
    scene.flush(50)
    scene.flush(100)
    await Promise.all([first, second])
    expect(scene.entered).toEqual(['a', 'b', 'c'])
  })

  test('a send larger than the whole limit passes alone', async () => {
    const scene = new Scene()
    await scene.send('huge', 500)
    const next = scene.send('also huge', 500)
    scene.flush(499)
    expect(scene.entered).toEqual(['huge'])
    scene.flush(1)
    await next
    expect(scene.entered).toEqual(['huge', 'also huge'])
  })

  test('BOUND-27: one more waiting send than allowed is refused, and so is any when rejecting was chosen', async () => {
    const scene = new Scene()
    await scene.send('a', 100)
    const waiting = ['b', 'c', 'd'].map((name) => scene.send(name))
    await expect(scene.send('e')).rejects.toEqual(refused('IN_FLIGHT_FULL'))
    scene.flush(100)
    expect(await Promise.all(waiting)).toEqual(['b', 'c', 'd'])

    const rejecting = new Scene({ onFull: 'reject' })
    await rejecting.send('a', 100)
    await expect(rejecting.send('b', 1)).rejects.toEqual(refused('IN_FLIGHT_FULL'))
    rejecting.flush(100)
    expect(await rejecting.send('b', 1)).toBe('b')
  })

  test('an aborted send gives its turn up, whatever its place; one that entered is not taken back', async () => {
    const scene = new Scene()
    await scene.send('a', 100)
    const [first, second] = [new AbortController(), new AbortController()]
    const sends = [scene.send('b', 60, first.signal), scene.send('c', 60, second.signal), scene.send('d', 30)]
    first.abort(new Error('mine'))
    await expect(sends[0]).rejects.toMatchObject({ code: 'ABORTED', cause: new Error('mine') })
    expect(scene.gate.waiting).toBe(2)
    scene.flush(100)
    second.abort()
    expect(await Promise.all([sends[1], sends[2]])).toEqual(['c', 'd'])
    expect([scene.entered, scene.gate.waiting]).toEqual([['a', 'c', 'd'], 0])
  })

  test('when all who waited gave up, the next send enters at once', async () => {
    const scene = new Scene()
    await scene.send('a', 100)
    const controller = new AbortController()
    const given = scene.send('b', 10, controller.signal)
    controller.abort()
    await expect(given).rejects.toEqual(refused('ABORTED'))
    scene.inFlight = 0
    expect(await scene.send('c')).toBe('c')
  })

  test('thousands of waiting sends enter in order, many of them given up', async () => {
    const scene = new Scene({ maxWaitingSends: 10_000 })
    await scene.send('first', 100)
    const controllers = Array.from({ length: 5000 }, () => new AbortController())
    const sends = controllers.map(({ signal }, i) => scene.send(String(i), 10, signal))
    const settled = Promise.allSettled(sends)
    for (let i = 0; i < 100; i++) scene.flush(scene.inFlight)
    controllers.forEach((controller, i) => i % 3 === 0 && controller.abort())
    while (scene.gate.waiting > 0) scene.flush(scene.inFlight)
    await settled
    const expected = Array.from({ length: 5000 }, (_, i) => i).filter((i) => i < 1000 || i % 3 !== 0)
    expect(scene.entered.slice(1).map(Number)).toEqual(expected)
  })

  test('BOUND-28: below the reserve of the disk sends are refused, and go on when there is room again', async () => {
    const scene = new Scene()
    await scene.send('a')
    scene.free = 999
    await scene.send('b')
    expect(scene.full, 'not every send looks at the disk').toEqual([])
    scene.inFlight = 0
    await expect(scene.send('big', 5_000_000)).rejects.toEqual(refused('STORE_FULL'))
    await expect(scene.send('small', 1)).rejects.toEqual(refused('STORE_FULL'))
    expect(scene.full).toEqual([true])
    scene.free = 1000
    expect(await scene.send('c')).toBe('c')
    expect(scene.full).toEqual([true, false])
  })

  test('the first send looks at the disk', async () => {
    const scene = new Scene()
    scene.free = 0
    await expect(scene.send('a', 1)).rejects.toEqual(refused('STORE_FULL'))
  })

  test('BOUND-29: sends that waited for room do not go on while the disk is full', async () => {
    const scene = new Scene()
    await scene.send('a', 100)
    const outcome = scene.send('b').then(
      () => 'entered',
      (error: unknown) => (error as QueueError).code,
    )
    scene.free = 0
    await expect(scene.send('c', 5_000_000)).rejects.toEqual(refused('STORE_FULL'))
    scene.flush(100)
    expect(scene.entered).toEqual(['a'])
    scene.free = 1e9
    scene.flush(0)
    expect(['entered', 'STORE_FULL']).toContain(await outcome)
  })

  test('QUIET-21: shutting turns everyone away who waits, and leaves no listener on their signals', async () => {
    const scene = new Scene()
    await scene.send('a', 100)
    const listeners = new Set<unknown>()
    const { signal } = new AbortController()
    const add = signal.addEventListener.bind(signal)
    const remove = signal.removeEventListener.bind(signal)
    signal.addEventListener = (...given: Parameters<typeof add>) => {
      listeners.add(given[1])
      add(...given)
    }
    signal.removeEventListener = (...given: Parameters<typeof remove>) => {
      listeners.delete(given[1])
      remove(...given)
    }
    const waiting = [scene.send('b', 10, signal), scene.send('c', 10, signal)]
    expect(listeners.size).toBe(1)
    const closed = new QueueError('CLOSED', 'the queue is closed')
    scene.gate.shut(closed)
    for (const send of waiting) await expect(send).rejects.toBe(closed)
    expect([listeners.size, scene.gate.waiting]).toEqual([0, 0])
  })
})
