import { Pick } from '../../src/testing/explore/pick.ts'
import { effectsArea } from './effects-area.ts'
import { area, call, member, message, planned, pour, shapeOf, type Area, type Test } from './area.ts'

/** Areas of the engine: each is an application and what happens to it, drawn from a seed. */
export const areas: Readonly<Record<string, (seed: number) => Area>> = {
  effects: effectsArea,

  lanes: (seed) => {
    const shape = shapeOf(seed, () => ({}))
    return area('lanes', shape, async (test, pick) => {
      const held: (() => void)[] = []
      await pour(test, pick, shape, () => {
        const one = member(test, pick)
        const concurrency = pick.integer(1, 5)
        const what = pick.one([{ key: 'a' }, { partition: 0 }, undefined, 'resize', 'batch'] as const)
        if (what === 'resize') call(() => one?.setConcurrency(concurrency))
        else if (what === 'batch') {
          const messages = pick.list(1, 5, () => message(pick, shape.partitions, planned(pick)))
          call(() => test.wired.topic.sendBatch(messages))
        } else if (shape.ordering === 'key' || what === undefined || !('key' in what)) {
          call(() => one?.pause(what))
          held.push(() => call(() => one?.resume(what)))
        }
      })
      for (const release of held) release()
    })
  },

  retries: (seed) => {
    const shape = shapeOf(seed, (pick) => ({ attempts: pick.one([2, 3, Infinity]) }))
    const retries = area('retries', shape, (test, pick) =>
      pour(
        test,
        pick,
        shape,
        () => {
          const one = member(test, pick)
          const key = pick.one(['a', 'b'])
          if (pick.boolean(0.3)) call(() => one?.release(shape.ordering === 'key' && pick.boolean() ? key : undefined))
        },
        (one) => ({ ...planned(one, 4), fails: one.boolean() ? one.integer(0, 4) : 0 }),
      ),
    )
    return { ...retries, allowDead: 1_000 }
  },

  rebalances: (seed) => {
    const shape = shapeOf(seed, (pick) => ({ partitions: pick.integer(2, 4) }))
    return area('rebalances', shape, (test, pick) =>
      pour(test, pick, shape, () => {
        const one = member(test, pick)
        const group = pick.one(shape.groups)
        const how = { timeoutMs: pick.one([0, 10, 5_000]), abandon: pick.boolean(0.3) }
        if (pick.boolean()) call(() => test.wired.join(group))
        else call(() => one?.close(how))
      }),
    )
  },

  progress: (seed) => {
    const shape = shapeOf(seed, (pick) => ({ concurrency: pick.integer(2, 8), maxBufferedMessages: 10_000 }))
    const progress = area('progress', shape, (test, pick) =>
      pour(test, pick, shape, () => {
        const how = pick.one(['process', 'power', 'flush', 'idle', 'drain'] as const)
        const one = member(test, pick)
        if (how === 'flush') call(() => test.mq.flush())
        else if (how === 'idle') call(() => one?.idle())
        else if (how === 'drain') call(() => one?.drain({ timeoutMs: 30 }))
        else if (pick.boolean(0.3)) call(() => test.crash(how))
      }),
    )
    return {
      ...progress,
      eventually: {
        'nothing is behind': (test) => shape.groups.every((group) => test.mq.group(group).lag().count === 0),
      },
    }
  },

  seek: (seed) => {
    const shape = shapeOf(seed, () => ({}))
    return area('seek', shape, (test, pick) =>
      pour(test, pick, shape, () => {
        const now = Math.floor(test.clock.now())
        const offset = pick.integer(0, 4)
        const to = pick.one(['earliest', 'latest', { offset }, { timestamp: now - pick.integer(0, 60) }] as const)
        const where = pick.boolean() ? { partition: pick.integer(0, shape.partitions - 1) } : undefined
        const group = pick.one(shape.groups)
        const one = member(test, pick)
        call(() => (pick.boolean() ? test.mq.group(group).seek(to, where) : one?.seek(to, where)))
      }),
    )
  },

  'retention and gaps': (seed) => {
    const shape = shapeOf(seed, (pick) => ({
      queue: { retentionCheckMs: 20 },
      retention: pick.one([
        {},
        { maxAgeMs: 60 },
        { maxBytes: 500 },
        { consumedBy: ['g'], maxAgeMs: 1 },
        { consumedBy: ['g'], hardMaxBytes: 700 },
      ]),
    }))
    return area('retention and gaps', shape, (test, pick) =>
      pour(test, pick, shape, () => {
        const partition = pick.integer(0, shape.partitions - 1)
        const share = pick.integer(0, 4) / 4
        call(() => {
          const { start, end } = test.wired.topic.offsets()[partition]!
          return test.wired.topic.trim(partition, start + Math.floor((end - start) * share))
        })
      }),
    )
  },

  'back-pressure': (seed) => {
    const waiting = new Pick(seed, undefined).one([2, 100])
    const shape = shapeOf(seed, (pick) => ({
      maxBufferedMessages: pick.one([1, 3]),
      maxDeferredMessages: pick.one([0, 2]),
      queue: { maxInFlightBytes: 1_024, maxWaitingSends: waiting, onFull: pick.one(['wait', 'wait', 'reject']) },
    }))
    // What a call gives back is held beyond the limit, until it was handed out again.
    const inHand = (shape.concurrency + 1) * (shape.batch?.max ?? 1)
    const pressure = area('back-pressure', shape, (test, pick) =>
      pour(
        test,
        pick,
        shape,
        () => {
          const messages = pick.list(1, 4, () => message(pick, shape.partitions, planned(pick)))
          const acks = pick.one(['flushed', 'buffered'] as const)
          call(() => test.wired.topic.sendBatch(messages, { acks }))
        },
        (one) => ({ ...planned(one), padding: 'x'.repeat(one.one([0, 300, 900])) }),
      ),
    )
    return {
      ...pressure,
      always: {
        'what waits stays within its bounds': (test) => {
          if (test.history.events.at(-1)?.kind !== 'deliver') return true
          const { store, subscriptions } = test.mq.stats()
          const bound = shape.maxDeferredMessages + inHand
          return store.waitingSends <= waiting && subscriptions.every(({ deferred }) => deferred <= bound)
        },
      },
    }
  },

  shutdown: (seed) => {
    const shape = shapeOf(seed, (pick) => ({ queue: { closeTimeoutMs: pick.one([0, 30, 5_000]) } }))
    /** Numbers of the events before which a queue had been closed whole. */
    const closed: number[] = []
    const shutdown = area('shutdown', shape, async (test, pick) => {
      const sending = pour(test, pick, shape, () => {
        const one = member(test, pick)
        if (pick.boolean(0.2)) call(() => one?.close())
      })
      await test.clock.sleep(pick.integer(0, 200))
      const { life } = test.history
      const kind = pick.one(['process', 'power'] as const)
      call(async () => {
        await test.mq.close()
        if (test.history.life !== life) return
        closed.push(test.history.events.length)
        test.crash(kind)
      })
      await sending
      await test.clock.sleep(10_000)
      await pour(test, pick, shape, () => {})
    })
    return {
      ...shutdown,
      reset: () => {
        shutdown.reset?.()
        closed.length = 0
      },
      eventually: {
        'a closed queue has lost nothing, buffered or not': (test) => closed.every((at) => isWhole(test, at)),
      },
    }
  },
}

/** Whether what was acknowledged in a life that was closed is there in the next one. */
function isWhole({ history }: Test, closedAt: number): boolean {
  const { life } = history.events[closedAt]!
  const snapshot = history.of('snapshot').find(({ seq }) => seq > closedAt)
  if (snapshot === undefined) return true
  return history
    .of('acked')
    .filter((acked) => acked.life === life && acked.seq < closedAt)
    .every(({ topic, partition, offset }) => {
      const log = snapshot.logs.find((one) => one.topic === topic && one.partition === partition)
      return log !== undefined && log.end > offset
    })
}
