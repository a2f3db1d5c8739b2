import type { DeadLetters, Message } from '../../src/index.ts'
import { attempt, sendAll, topicsOf, wait, type Flow, type Test, type Work } from './flow.ts'

const lettersOf = ({ mq }: Test): DeadLetters => mq.group('works').deadLetters('tasks')

/** A flow of letters that are sent back, by its name. */
export const redriveFlows: Readonly<Record<string, Flow>> = {
  redriven: {
    about: 'letters that are sent back to one of two groups, one of them twice, behind a later one of its key',
    options: () => ({
      name: 'redriven',
      faults: ['schedule', 'crash', 'power', 'slow'],
      allowDead: 1_000,
      async wire(mq, { clock }) {
        const topics = await topicsOf(mq, 1, 'tasks')
        const work = async ({ value, redriveFacts }: Message<Work>): Promise<void> => {
          await clock.sleep(value.ms ?? 1)
          if ((redriveFacts?.count ?? 0) < (value.fails ?? 0)) throw new Error(`${value.id} fails`)
        }
        const options = { from: 'earliest', attempts: 1 } as const
        const works = await topics[0]!.subscribe('works', work, options)
        const looks = await topics[0]!.subscribe('looks', () => {}, options)
        return { mq, topics, subscriptions: [works, looks] }
      },
      async scenario(test) {
        await sendAll(test, 'tasks', [
          { id: 'a1', key: 'a', fails: 2 },
          { id: 'a2', key: 'a', fails: 1 },
          { id: 'b1', key: 'b', fails: 1 },
        ])
        await wait(test, 20)
        attempt(() => lettersOf(test).redrive({ limit: 1 }))
        await wait(test, 20)
        attempt(() => lettersOf(test).redrive())
        attempt(() => lettersOf(test).delete({ key: 'b' }))
        await wait(test, 20)
      },
    }),
  },
}
