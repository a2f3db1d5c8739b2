import type { HandlerContext, Message, StateStore, Topic } from '../../src/index.ts'
import type { PlantedEngine } from './planted-engine.ts'
import type { Scene } from './scene.ts'
import { Stage } from './stage.ts'

const options = { from: 'earliest', backoff: { type: 'fixed', delayMs: 100, jitter: 0 } } as const

/** A scene for each planted bug of what commits with an acknowledgement. */
export const effectScenes: Readonly<Record<string, Scene>> = {
  'dead-letter-without-progress': {
    right: { letters: 1, lag: 0 },
    wrong: { letters: 1, lag: 1 },
    async play(engine) {
      const stage = await Stage.open(engine)
      await stage.consume(await stage.topicOf('a:1'), { attempts: 1 })
      await stage.fail('a:1')
      const letters = (await stage.topic('t.g.dlq')).offsets()[0]!.end
      return { letters, lag: stage.lag }
    },
  },
  'torn-outputs': {
    right: { sent: 1, lag: 0 },
    wrong: { sent: 1, lag: 1 },
    async play(engine) {
      const stage = await Stage.open(engine)
      const topic = await stage.topicOf('a:1')
      const out = await stage.topic('out')
      let commits = 0
      const forward = (_message: Message<string>, context: HandlerContext): void => {
        // The first one after this has what was sent.
        stage.storage.faults.commit = () => (++commits > 1 ? new Error('no second one') : undefined)
        context.send(out, { value: '1' })
      }
      await stage.run(topic.subscribe('g', forward, options))
      await stage.settle()
      await stage.crash()
      await stage.topic()
      return { sent: (await stage.topic('out')).offsets()[0]!.end, lag: stage.lag }
    },
  },
  'called-before-acknowledged': {
    right: [],
    wrong: ['a:1'],
    async play(engine) {
      const stage = await Stage.open(engine)
      const topic = await stage.topic()
      await stage.run(topic.subscribe('g', stage.calls.handler, { from: 'earliest', ackMode: 'before' }))
      let commits = 0
      // The first one has the message.
      stage.storage.faults.commit = () => (++commits > 1 ? new Error('no second one') : undefined)
      await stage.run(topic.send({ key: 'a', value: 'a:1' }))
      await stage.settle()
      return stage.calls.started
    },
  },
  'effect-without-mark': {
    right: 1,
    wrong: 2,
    async play(engine) {
      const stage = await Stage.open(engine)
      await book(stage, engine, await stage.topicOf('a'))
      await stage.settle()
      await stage.crash()
      const topic = await stage.topic()
      const total = await book(stage, engine, topic)
      await stage.run(topic.send({ value: 'a' }))
      await stage.settle()
      return total.get('all')
    },
  },
  'mark-without-effect': {
    right: 2,
    wrong: 1,
    async play(engine) {
      const stage = await Stage.open(engine)
      // Both read before one of them writes.
      const total = await book(stage, engine, await stage.topicOf('a', 'b'))
      await stage.runtime.advance(1_000)
      return total.get('all')
    },
  },
}

/** Subscribes a handler that counts messages, each value once; returns what was counted. */
async function book(stage: Stage, { idempotency }: PlantedEngine, topic: Topic<string>): Promise<StateStore<number>> {
  const total = await stage.run(stage.mq.store<number>('total'))
  const count = async (_message: Message<string>, context: HandlerContext): Promise<void> => {
    const before = context.store(total).get('all') ?? 0
    await Promise.resolve()
    context.store(total).put('all', before + 1)
  }
  const store = idempotency.openLmdbIdempotencyStore(stage.mq)
  const marks = { store, key: ({ value }: Message<string>) => value }
  await stage.run(topic.subscribe('g', count, { ...options, idempotency: marks }))
  return total
}
