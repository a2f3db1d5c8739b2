import { open } from 'lanemq'
import { pump } from './pump.js'

/** A queue in a fresh directory, and one of its topics. @param {import('./context.js').Context} context */
export async function openTopic(context, topicOptions, queueOptions = {}) {
  const mq = await open({ path: context.directory('engine'), ...queueOptions })
  return { mq, topic: await mq.topic('bench', topicOptions) }
}

/** Puts batches into a topic, round and round until `count` of them are on disk. */
export function fill(topic, batches, count = batches.length) {
  return pump({ count }, (index) => topic.sendBatch(batches[index % batches.length]))
}

let groups = 0

/** A group name that was not used before. */
export const freshGroup = () => `group-${++groups}`

/**
 * Lets a new group handle what a topic holds, from the first message until all of it is acknowledged; returns messages/s.
 *
 * @param {object} topic @param {number} count what the topic holds
 * @param {(message: object) => unknown} handler
 */
export async function catchUp(topic, count, handler, options = {}) {
  const start = performance.now()
  const subscription = await topic.subscribe(freshGroup(), handler, { from: 'earliest', ordering: 'key', ...options })
  // What waits for a retry is idle, and not done.
  await (options.backoff === undefined ? subscription.idle() : subscription.drain({ timeoutMs: 600_000 }))
  const took = (performance.now() - start) / 1000
  mustBe((await subscription.lag()).count ?? 0, 0, 'messages left behind')
  await subscription.close()
  return count / took
}

/** Complains when a bench did not do the work that its figure is about. */
export function mustBe(seen, expected, what) {
  if (seen !== expected) throw new Error(`${what}: ${seen} instead of ${expected}`)
}
