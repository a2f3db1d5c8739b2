import { expect, test } from 'vitest'
import { open } from '../../src/index.ts'
import { freshDirectory, virtualQueue } from './queue.ts'

test('QUIET-70: `await using` closes a subscription and a queue', async () => {
  const path = freshDirectory()
  const handled: string[] = []
  {
    await using mq = await open({ path, minFreeBytes: 0 })
    const topic = await mq.topic<string>('t')
    await topic.send({ value: 'one' })
    await using subscription = await topic.subscribe('g', ({ value }) => void handled.push(value), { from: 'earliest' })
    await subscription.idle()
  }
  // It was released: it can be opened again, and what was handled is known.
  await using mq = await open({ path, minFreeBytes: 0 })
  expect([handled, mq.group('g').lag().count]).toEqual([['one'], 0])
})

test('a queue that is disposed of refuses everything after', async () => {
  const { mq, run } = await virtualQueue()
  const topic = await run(mq.topic('t'))
  await run(mq[Symbol.asyncDispose]())
  await expect(topic.send({ value: 1 })).rejects.toMatchObject({ code: 'CLOSED' })
})

test('allowNetworkFileSystem is a yes or a no, and changes nothing on a local disk', async () => {
  const path = freshDirectory()
  const no = open({ path, minFreeBytes: 0, allowNetworkFileSystem: 'no' as never })
  await expect(no).rejects.toMatchObject({ code: 'INVALID_OPTION', option: 'allowNetworkFileSystem' })
  const mq = await open({ path, minFreeBytes: 0, allowNetworkFileSystem: true })
  await mq.close()
})
