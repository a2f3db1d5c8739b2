import { HeldCalls } from '../behaviour/held-calls.ts'
import { effectScenes } from './effect-scenes.ts'
import { redriveScenes } from './redrive-scenes.ts'
import type { PlantedEngine } from './planted-engine.ts'
import type { Scene } from './scene.ts'
import { Stage } from './stage.ts'

/** A scene for each planted bug, by its name. */
export const scenes: Readonly<Record<string, Scene>> = {
  ...effectScenes,
  ...redriveScenes,
  'commit-highest-finished': {
    right: { position: 0, again: ['a:1', 'b:1'] },
    wrong: { position: 3, again: [] },
    async play(engine) {
      const stage = await Stage.open(engine)
      await stage.consume(await stage.topicOf('a:1', 'b:1', 'c:1'))
      await stage.end('c:1')
      const { position } = stage
      await stage.crash()
      return { position, again: await stage.handedAgain() }
    },
  },
  'gap-set-lost-on-restart': {
    right: ['a:1', 'c:1'],
    wrong: ['a:1', 'b:1', 'c:1'],
    play: (engine) => finishAndCrash(engine, 'b:1'),
  },
  'attempts-lost-on-restart': {
    right: { attempts: [1, 2], running: ['b:1'] },
    wrong: { attempts: [1, 1], running: ['a:1', 'a:2', 'b:1'] },
    play: failAndCrash,
  },
  'wait-lost-on-restart': {
    right: { attempts: [1, 2], running: ['b:1'] },
    wrong: { attempts: [1, 2], running: ['a:1', 'a:2', 'b:1'] },
    play: failAndCrash,
  },
  'resumed-key-is-overtaken': {
    right: { attempts: [1, 2], running: ['b:1'] },
    wrong: { attempts: [1, 2], running: ['a:2', 'b:1'] },
    play: failAndCrash,
  },
  'innocents-counted-as-attempts': {
    right: ['a:1'],
    wrong: ['a:1', 'b:1'],
    async play(engine) {
      const options = { countCrashes: true }
      const stage = await Stage.open(engine, options)
      await stage.consume(await stage.topicOf('a:1', 'b:1'))
      await stage.crash(options)
      return stage.handedAgain()
    },
  },
  'restored-page-off-by-one': {
    right: ['a:1'],
    wrong: ['a:1', 'c:1'],
    play: (engine) => finishAndCrash(engine, 'b:1', 'c:1'),
  },
  'forgets-after-gap': {
    right: ['a:1', 'c:1'],
    wrong: ['a:1'],
    play: (engine) => finishAndCrash(engine, 'b:1'),
  },
  'settled-before-commit': {
    right: { isIdle: false, again: ['a:1'] },
    wrong: { isIdle: true, again: ['a:1'] },
    async play(engine) {
      const stage = await Stage.open(engine)
      const subscription = await stage.consume(await stage.topicOf('a:1'))
      let isIdle = false
      void subscription.idle().then(() => (isIdle = true))
      stage.calls.end('a:1')
      await stage.turn()
      await stage.crash()
      return { isIdle, again: await stage.handedAgain() }
    },
  },
  'lost-wake-up-after-settlement': {
    right: 0,
    wrong: 1,
    async play(engine) {
      const stage = await Stage.open(engine)
      await stage.consume(await stage.topicOf('a:1', 'b:1'))
      stage.calls.end('a:1')
      await stage.turn()
      stage.calls.end('b:1')
      await stage.turn()
      await stage.settle()
      return stage.lag
    },
  },
  'finished-at-batch-boundary': {
    right: 0,
    wrong: 2,
    async play(engine) {
      const stage = await Stage.open(engine)
      await stage.consume(await stage.topicOf('a:1', 'b:1'))
      await stage.end('b:1')
      return stage.position
    },
  },
  'key-twice-after-reassignment': { right: [], wrong: ['a:1', 'b:1'], play: (engine) => join(engine) },
  'granted-before-released': { right: [], wrong: ['a:1', 'b:1'], play: (engine) => join(engine) },
  'finished-lost-on-revoke': {
    right: [],
    wrong: ['b:1'],
    play: (engine) =>
      join(engine, async (stage) => {
        stage.calls.end('a:1')
        await stage.turn()
        stage.calls.end('b:1')
        await stage.turn()
      }),
  },
  'failed-counts-as-done-on-revoke': {
    right: ['a:1'],
    wrong: [],
    play: (engine) =>
      join(engine, async (stage) => {
        await stage.end('b:1')
        await stage.fail('a:1')
      }),
  },
  'released-never-granted': {
    right: ['c:1'],
    wrong: [],
    play: (engine) =>
      join(engine, async (stage, topic) => {
        await stage.end('a:1', 'b:1')
        await stage.run(topic.send({ key: 'c', value: 'c:1', partition: 1 }))
      }),
  },
  'late-release-disowns': {
    right: ['a:1', 'b:1'],
    wrong: ['a:1', 'b:1', 'b:1'],
    async play(engine) {
      const stage = await Stage.open(engine)
      const topic = await stage.topicOf('a:1@0', 'b:1@1')
      const first = await stage.consume(topic)
      const young = new HeldCalls()
      await stage.consume(topic, {}, young)
      await stage.run(first.close({ timeoutMs: 0, abandon: true }))
      await stage.settle()
      await stage.end('a:1', 'b:1')
      for (let i = 0; i < 3; i++) {
        young.endAll()
        await stage.settle()
      }
      return young.started
    },
  },
  'fence-ignored': {
    right: 1,
    wrong: 0,
    async play(engine) {
      const stage = await Stage.open(engine)
      const topic = await stage.topicOf('a:1')
      const first = await stage.consume(topic)
      await stage.run(first.close({ timeoutMs: 0, abandon: true }))
      await stage.consume(topic, {}, new HeldCalls())
      await stage.end('a:1')
      return stage.lag
    },
  },
  'drop-on-close': {
    right: 1,
    wrong: 0,
    async play(engine) {
      const stage = await Stage.open(engine)
      const subscription = await stage.consume(await stage.topicOf('a:1'))
      const closing = subscription.close()
      await stage.settle()
      await stage.fail('a:1')
      await stage.run(closing)
      return stage.lag
    },
  },
  'gathered-finished-on-close': {
    right: 2,
    wrong: 0,
    async play(engine) {
      const stage = await Stage.open(engine)
      const batch = { max: 10, maxWaitMs: 1_000 }
      const subscription = await stage.consume(await stage.topicOf('a:1', 'b:1'), { batch })
      await stage.run(subscription.close())
      return stage.lag
    },
  },
  'close-does-not-flush': {
    right: 3,
    wrong: 2,
    async play(engine) {
      const stage = await Stage.open(engine)
      const topic = await stage.topic()
      for (const value of ['1', '2', '3']) {
        void topic.send({ value }, { acks: 'buffered' })
        await stage.turn()
      }
      await stage.run(stage.mq.close())
      return endAfterCrash(stage)
    },
  },
  'next-starts-while-retry-waits': {
    right: [],
    wrong: ['a:2'],
    async play(engine) {
      const stage = await Stage.open(engine)
      await stage.consume(await stage.topicOf('a:1', 'a:2'))
      await stage.fail('a:1')
      return stage.calls.running
    },
  },
  'arrival-overtakes-lane': {
    right: [],
    wrong: ['a:2'],
    async play(engine) {
      const stage = await Stage.open(engine)
      const topic = await stage.topicOf('a:1')
      await stage.consume(topic)
      await stage.fail('a:1')
      await stage.run(topic.send({ key: 'a', value: 'a:2' }))
      await stage.settle()
      return stage.calls.running
    },
  },
  'one-retry-wakes-all': { right: ['a:1'], wrong: ['a:1', 'b:1'], play: (engine) => twoRetries(engine, 100) },
  'second-retry-never-wakes': { right: ['a:1', 'b:1'], wrong: ['a:1'], play: (engine) => twoRetries(engine, 500) },
  'one-attempt-too-many': {
    right: [1, 2],
    wrong: [1, 2, 3],
    async play(engine) {
      const stage = await Stage.open(engine)
      await stage.consume(await stage.topicOf('a:1'), { attempts: 2, onExhausted: 'park-key' })
      for (let i = 0; i < 5; i++) {
        for (const name of stage.calls.running) stage.calls.fail(name)
        await stage.runtime.advance(100)
      }
      return stage.calls.attempts
    },
  },
  'retry-blocks-intake': {
    right: ['b:1'],
    wrong: [],
    async play(engine) {
      const stage = await Stage.open(engine)
      await stage.consume(await stage.topicOf('a:1', 'b:1'), { attempts: 1, onExhausted: 'park-key', concurrency: 1 })
      await stage.fail('a:1')
      return stage.calls.running
    },
  },
  'slot-lost-after-error': {
    right: ['b:1'],
    wrong: [],
    async play(engine) {
      const stage = await Stage.open(engine)
      await stage.consume(await stage.topicOf('a:1', 'b:1'), { concurrency: 1 })
      await stage.fail('a:1')
      return stage.calls.running
    },
  },
  'skipped-at-batch-boundary': {
    right: ['a:2'],
    wrong: ['a:1'],
    async play(engine) {
      const stage = await Stage.open(engine)
      const topic = await stage.topicOf('a:1')
      await stage.run(topic.send({ key: 'a', value: 'a:2' }))
      await stage.consume(topic)
      await stage.fail('a:1')
      await stage.runtime.advance(100)
      await stage.end('a:1')
      return stage.calls.running
    },
  },
  'batch-failure-keeps-later': {
    right: 2,
    wrong: 1,
    async play(engine) {
      const stage = await Stage.open(engine)
      await stage.consume(await stage.topicOf('a:1', 'a:2'), { batch: { max: 10 } })
      stage.calls.answer('a:1 a:2', [new Error('a:1 failed'), undefined])
      await stage.settle()
      return stage.lag
    },
  },
  'partitions-share-a-lane': {
    right: ['a:1', 'b:1'],
    wrong: ['a:1'],
    async play(engine) {
      const stage = await Stage.open(engine)
      await stage.consume(await stage.topicOf('a:1@0', 'b:1@1'), { ordering: 'partition' })
      return stage.calls.running
    },
  },
  'topics-share-a-lane': {
    right: ['in t', 'in u'],
    wrong: ['in t'],
    async play(engine) {
      const stage = await Stage.open(engine)
      const topics = [await stage.topic('t'), await stage.topic('u')]
      for (const topic of topics) await stage.run(topic.send({ key: 'a', value: `in ${topic.name}` }))
      await stage.run(stage.mq.subscribe(topics, 'g', stage.calls.handler, { from: 'earliest' }))
      await stage.settle()
      return stage.calls.running
    },
  },
  'keyless-share-a-lane': {
    right: ['1', '2'],
    wrong: ['1'],
    async play(engine) {
      const stage = await Stage.open(engine)
      await stage.consume(await stage.topicOf('1', '2'))
      return stage.calls.running
    },
  },
  'one-handler-too-many': {
    right: ['a:1'],
    wrong: ['a:1', 'b:1'],
    async play(engine) {
      const stage = await Stage.open(engine)
      await stage.consume(await stage.topicOf('a:1', 'b:1'), { concurrency: 1 })
      return stage.calls.running
    },
  },
  'paused-key-loses-a-message': {
    right: ['a:1'],
    wrong: [],
    async play(engine) {
      const stage = await Stage.open(engine)
      const topic = await stage.topic()
      const subscription = await stage.consume(topic)
      subscription.pause({ key: 'a' })
      await stage.run(topic.send({ key: 'a', value: 'a:1' }))
      await stage.settle()
      subscription.resume({ key: 'a' })
      await stage.settle()
      return stage.calls.running
    },
  },
  'seek-with-stale-lanes': {
    right: ['a:1'],
    wrong: ['a:1', 'a:1'],
    async play(engine) {
      const stage = await Stage.open(engine)
      const subscription = await stage.consume(await stage.topicOf('a:1'))
      await stage.fail('a:1')
      await stage.run(subscription.seek('latest'))
      await stage.runtime.advance(100)
      return stage.calls.started
    },
  },
  'seek-without-release': {
    right: ['a:1', 'a:1'],
    wrong: ['a:1'],
    async play(engine) {
      const stage = await Stage.open(engine)
      const subscription = await stage.consume(await stage.topicOf('a:1'))
      await stage.end('a:1')
      await stage.run(subscription.seek('earliest'))
      await stage.settle()
      return stage.calls.started
    },
  },
  'seek-leaves-finished-rows': {
    right: ['a:1', 'b:1'],
    wrong: ['a:1'],
    async play(engine) {
      const stage = await Stage.open(engine)
      const subscription = await stage.consume(await stage.topicOf('a:1', 'b:1'))
      await stage.end('b:1')
      await stage.fail('a:1')
      await stage.run(subscription.seek('earliest'))
      await stage.settle()
      await stage.crash()
      return stage.handedAgain()
    },
  },
  'half-message-committed-twice': {
    right: 1,
    wrong: 2,
    async play(engine) {
      const stage = await Stage.open(engine)
      const topic = await stage.topic()
      const options = { name: 'p', checker: () => 'commit' as const, check: { timeoutMs: 10 } }
      const producer = await stage.run(stage.mq.producer(options))
      const message = await stage.run(producer.prepare(topic, { value: '1' }))
      await stage.run(message.commit())
      await stage.runtime.advance(100)
      return topic.offsets()[0]!.end
    },
  },
  'rolled-back-is-back-after-restart': {
    right: { isDone: false, left: 1 },
    wrong: { isDone: true, left: 1 },
    async play(engine) {
      const stage = await Stage.open(engine)
      const topic = await stage.topic()
      const producer = await stage.run(stage.mq.producer({ name: 'p' }))
      const message = await stage.run(producer.prepare(topic, { value: '1' }))
      let isDone = false
      void message.rollback().then(() => (isDone = true))
      await stage.turn()
      await stage.crash()
      let left = 0
      for await (const _ of (await stage.run(stage.mq.producer({ name: 'p' }))).prepared()) left++
      return { isDone, left }
    },
  },
  'acked-before-commit': {
    right: { isAcked: false, kept: 0 },
    wrong: { isAcked: true, kept: 0 },
    async play(engine) {
      const stage = await Stage.open(engine)
      const topic = await stage.topic()
      let isAcked = false
      void topic.send({ value: '1' }).then(() => (isAcked = true))
      await stage.turn()
      return { isAcked, kept: await endAfterCrash(stage) }
    },
  },
  'shown-before-flushed': {
    right: { started: [], kept: 0 },
    wrong: { started: ['1'], kept: 0 },
    async play(engine) {
      const stage = await Stage.open(engine)
      const topic = await stage.topic()
      await stage.consume(topic)
      void topic.send({ value: '1' })
      await stage.turn()
      const { started } = stage.calls
      return { started, kept: await endAfterCrash(stage) }
    },
  },
  'send-batch-in-two-commits': {
    right: 2,
    wrong: 1,
    async play(engine) {
      const stage = await Stage.open(engine)
      const topic = await stage.topic()
      let commits = 0
      stage.storage.faults.commit = () => (++commits > 1 ? new Error('no second one') : undefined)
      void topic.sendBatch([{ value: '1' }, { value: '2' }]).catch(() => {})
      await stage.settle()
      return endAfterCrash(stage)
    },
  },
  'send-overtakes': {
    right: ['large', 'second', '3'],
    wrong: ['large', '3', 'second'],
    async play(engine) {
      const stage = await Stage.open(engine, { maxInFlightBytes: 10 })
      const topic = await stage.topic()
      await stage.run(Promise.all(['large', 'second', '3'].map((value) => topic.send({ value }))))
      await stage.consume(topic)
      return stage.calls.started
    },
  },
  'trim-takes-too-much': {
    right: { start: 1, end: 3 },
    wrong: { start: 1, end: 1 },
    async play(engine) {
      const stage = await Stage.open(engine)
      const topic = await stage.topicOf('1', '2', '3')
      await stage.run(topic.trim(0, 1))
      await stage.crash()
      return (await stage.topic()).offsets()[0]
    },
  },
  'late-result-finishes': {
    right: 1,
    wrong: 0,
    async play(engine) {
      const stage = await Stage.open(engine)
      await stage.consume(await stage.topicOf('a:1'), { handlerTimeoutMs: 50 })
      await stage.runtime.advance(50)
      await stage.end('a:1')
      return stage.lag
    },
  },
  'abandoned-ends-twice': {
    right: ['a:1'],
    wrong: ['a:1', 'a:1'],
    async play(engine) {
      const stage = await Stage.open(engine)
      await stage.consume(await stage.topicOf('a:1'), { handlerTimeoutMs: 150, onTimeout: 'abandon' })
      await stage.runtime.advance(250)
      await stage.end('a:1')
      await stage.runtime.advance(100)
      return stage.calls.running
    },
  },
  'trim-finishes-one-more': {
    right: 1,
    wrong: 3,
    async play(engine) {
      const stage = await Stage.open(engine)
      const topic = await stage.topicOf('a:1', 'b:1', 'c:1')
      await stage.run((await stage.consume(topic, {}, new HeldCalls())).close({ timeoutMs: 0, abandon: true }))
      await stage.run(topic.trim(0, 1))
      await stage.consume(topic, { onGap: 'skip' })
      await stage.end('c:1')
      return stage.position
    },
  },
  'old-producer-not-fenced': {
    right: 'FENCED',
    wrong: 'sent',
    async play(engine) {
      const stage = await Stage.open(engine)
      const topic = await stage.topic()
      const older = await stage.run(stage.mq.producer({ name: 'p' }))
      await stage.run(stage.mq.producer({ name: 'p' }))
      const sent = older.send(topic, { value: 'a' })
      return stage.run(sent.then(() => 'sent').catch((error: { code: unknown }) => error.code))
    },
  },
  'ids-in-a-later-commit': {
    right: true,
    wrong: false,
    async play(engine) {
      const stage = await Stage.open(engine)
      await stage.run((await stage.topic()).send({ id: 'a', value: 'a' }))
      await stage.crash()
      const { duplicate } = await stage.run((await stage.topic()).send({ id: 'a', value: 'a' }))
      return duplicate
    },
  },
}

/** Three messages of which some are finished when the power fails: what is handed out again. */
async function finishAndCrash(engine: PlantedEngine, ...finished: string[]): Promise<string[]> {
  const stage = await Stage.open(engine)
  await stage.consume(await stage.topicOf('a:1', 'b:1', 'c:1'))
  await stage.end(...finished)
  await stage.crash()
  return stage.handedAgain()
}

/** A message fails, then the power: which attempts it had in all, and what ran while it should have waited. */
async function failAndCrash(engine: PlantedEngine): Promise<{ attempts: number[]; running: string[] }> {
  const stage = await Stage.open(engine)
  const attempts: number[] = []
  const consume = async (): Promise<string[]> => {
    const running: string[] = []
    const topic = await stage.topic('t')
    const handler = async ({ value }: { value: string }, { attempt }: { attempt: number }): Promise<void> => {
      running.push(value)
      if (value !== 'a:1') return new Promise(() => {})
      attempts.push(attempt)
      if (attempts.length === 1) throw new Error('once')
    }
    const backoff = { type: 'fixed', delayMs: 100, jitter: 0 } as const
    await stage.run(topic.subscribe('g', handler, { from: 'earliest', backoff }))
    await stage.settle()
    return running
  }
  await stage.topicOf('a:1', 'a:2', 'b:1')
  await consume()
  await stage.crash()
  const running = [...(await consume())].toSorted()
  await stage.runtime.advance(100)
  return { attempts, running }
}

/** A second member comes while the first runs a:1 and b:1 of the partition that moves: what the second runs at the end. */
async function join(
  engine: PlantedEngine,
  then: (stage: Stage, topic: Awaited<ReturnType<Stage['topicOf']>>) => Promise<void> = async () => {},
): Promise<string[]> {
  const stage = await Stage.open(engine)
  const topic = await stage.topicOf('a:1@1', 'b:1@1')
  await stage.consume(topic)
  const young = new HeldCalls()
  await stage.consume(topic, {}, young)
  await then(stage, topic)
  await stage.settle()
  return young.running
}

/** Two retries that wait 100 ms each, the second one 50 ms behind the first: what runs `ms` after the first failed. */
async function twoRetries(engine: PlantedEngine, ms: number): Promise<string[]> {
  const stage = await Stage.open(engine)
  await stage.consume(await stage.topicOf('a:1', 'b:1'))
  await stage.fail('a:1')
  await stage.runtime.advance(50)
  await stage.fail('b:1')
  await stage.runtime.advance(ms - 50)
  return stage.calls.running
}

async function endAfterCrash(stage: Stage): Promise<number> {
  await stage.crash()
  return (await stage.topic()).offsets()[0]!.end
}
