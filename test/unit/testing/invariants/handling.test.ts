import { describe, test } from 'vitest'
import { QueueError, type ErrorCode } from '../../../../src/errors.ts'
import { Story } from './story.ts'

describe('key-order', () => {
  test('keys run side by side, each in order', () => {
    const story = new Story().begin().deliver(0).deliver(1).done(1).deliver(3).done(0).deliver(2)
    story
      .done(2)
      .done(3)
      .settled(story.settle([0, 4]), 4)
      .isLegal()
  })

  test('a later message runs before an earlier one of its key', () => {
    const story = new Story().begin().deliver(0).deliver(2)
    story.breaks('key-order', 'billing: orders[0]@2 (key a) was handed out before orders[0]@0 of its key was done')
  })

  test('a later message runs while an earlier one waits for its retry', () => {
    const story = new Story().begin().deliver(0).fail(0, 100).deliver(2)
    story.breaks('key-order', 'billing: orders[0]@2 (key a) was handed out before orders[0]@0 of its key was done')
  })

  test('an earlier message comes late, of which nothing was known', () => {
    const story = new Story().join().grant().deliver(2, { key: 'a' }).done(2).deliver(0, { key: 'a' })
    story.breaks('key-order', 'billing: orders[0]@0 (key a) was handed out after orders[0]@2 of its key')
  })

  test('with order by partition every message counts', () => {
    new Story().begin({ ordering: 'partition' }).handle([0, 1, 2, 3]).isLegal()
    const story = new Story().begin({ ordering: 'partition' }).deliver(0).deliver(1)
    story.breaks(
      'key-order',
      'billing: orders[0]@1 (key b) was handed out before orders[0]@0 of its partition was done',
    )
  })

  test('messages without a key, or without an order, run as they like', () => {
    new Story().sent([undefined, undefined]).join().grant().deliver(1).deliver(0).isLegal()
    new Story().begin({ ordering: 'unordered' }).deliver(2).deliver(0).isLegal()
  })

  test('what is below the start, removed or reported as a gap holds nothing back', () => {
    new Story().sent(['a', 'a', 'a']).join().grant(2).handle([2]).isLegal()
    new Story().sent(['a', 'a', 'a']).join().grant().trim(2).handle([2]).isLegal()
    const story = new Story().sent(['a', 'a', 'a']).join().grant()
    const gap = { group: 'billing', topic: 'orders', partition: 0, from: 0, to: 2, count: 2 }
    story
      .add('gap', gap)
      .handle([2])
      .settled(story.settle([0, 3]), 3)
      .isLegal()
  })

  test('an array holds messages of a key in order', () => {
    const story = new Story().begin({ batchMax: 4 })
    for (const offset of [0, 1, 2, 3]) story.deliver(offset, { call: 500 })
    for (const offset of [0, 1, 2, 3]) story.done(offset)
    story.settled(story.settle([0, 4]), 4).isLegal()
  })

  test('an array holds them in another order', () => {
    const story = new Story().begin({ batchMax: 4 }).deliver(2, { call: 500 }).deliver(0, { call: 500 })
    story.breaks('key-order', 'billing: orders[0]@2 (key a) was handed out before orders[0]@0 of its key was done')
  })

  test('what fails in an array takes the later ones of its key back', () => {
    const story = new Story().begin({ batchMax: 4 })
    for (const offset of [0, 1, 2]) story.deliver(offset, { call: 500 })
    // In whichever order the outcomes are told.
    story
      .done(2)
      .done(1)
      .fail(0, 0)
      .settled(story.settle([1, 2]), 0)
    for (const offset of [0, 2]) story.deliver(offset, { call: 501, attempt: offset === 0 ? 2 : 1 })
    story
      .done(0)
      .done(2)
      .settled(story.settle([0, 1, 2, 3]), 3)
      .isLegal()
  })

  test('after an array failed, the later message of the key comes first', () => {
    const story = new Story().begin({ batchMax: 4 })
    for (const offset of [0, 2]) story.deliver(offset, { call: 500 })
    story.fail(0, 0).done(2).deliver(2, { call: 501 })
    story.breaks('key-order', 'billing: orders[0]@2 (key a) was handed out before orders[0]@0 of its key was done')
  })

  test('after a crash, an abandon, a loss or a seek messages come again', () => {
    const story = new Story().begin().handle([0, 2]).crash().restart({ position: 0 })
    story.join().grant().handle([0, 2]).leave(true).join({ member: 'b-2' }).grant(0, { member: 'b-2' })
    story.handle([0, 2], { member: 'b-2' }).lose('b-2').join({ member: 'b-3' }).grant(0, { member: 'b-3' })
    story.handle([0, 2], { member: 'b-3' }).release({ member: 'b-3' }).seek(0).grant(0, { member: 'b-3' })
    story.handle([0, 2], { member: 'b-3' }).isLegal()
  })

  test('after a seek the first ones are left out', () => {
    const story = new Story().begin().finish(0, 4).release().seek(0).grant(0).deliver(2)
    story.breaks('key-order', 'billing: orders[0]@2 (key a) was handed out before orders[0]@0 of its key was done')
  })

  test('what an abandoned member still ends lets nothing go on', () => {
    const story = new Story().begin().deliver(0).leave(true).join({ member: 'b-2' }).grant(0, { member: 'b-2' })
    story.done(0).deliver(2, { member: 'b-2' })
    story.breaks('key-order', 'billing: orders[0]@2 (key a) was handed out before orders[0]@0 of its key was done')
  })
})

test('a duplicate that fails fails its message, and what is behind it in its array', () => {
  const single = new Story().begin().handle([0]).deliver(0, { isDuplicate: true }).fail(0, 0).deliver(0, { attempt: 2 })
  single.done(0).isLegal()
  const story = new Story().begin({ batchMax: 4 })
  const both = [0, 2]
  for (const offset of both) story.deliver(offset, { call: 500 })
  for (const offset of both) story.done(offset)
  for (const offset of both) story.deliver(offset, { call: 500, isDuplicate: true })
  story.fail(0, 0).done(2).deliver(0, { call: 501, attempt: 2 }).deliver(2, { call: 501 }).isLegal()
})

describe('refused effects', () => {
  test('messages whose effects were refused while their partition is given back come again, in order', () => {
    const again = (...offsets: number[]): Story => {
      const story = new Story().begin().handle([0]).handle([2])
      const settlement = story.settle([0, 1, 2, 3])
      const error = new QueueError('CONFLICT', 'refused')
      story.add('unsettled', { group: 'billing', member: 'b-1', settlement, error })
      story.release().join({ member: 'b-2' }).grant(0, { member: 'b-2' })
      for (const offset of offsets) story.deliver(offset, { member: 'b-2' }).done(offset, { member: 'b-2' })
      return story
    }
    again(0, 2).isLegal()
    again(2).breaks('key-order', 'billing: orders[0]@2 (key a) was handed out before orders[0]@0 of its key was done')
  })
})

describe('no-overlap', () => {
  test('the same key again, when the first call has ended', () => {
    new Story().begin().deliver(0).fail(0, 0).deliver(0, { attempt: 2 }).done(0).deliver(2).isLegal()
  })

  test('two calls have a key', () => {
    const story = new Story().begin().deliver(0).deliver(2)
    story.breaks(
      'no-overlap',
      'billing: orders[0]@2 (key a) was handed out to b-1 while orders[0]@0 (key a) runs at b-1',
    )
  })

  test('two calls have the same message, in whatever order', () => {
    for (const ordering of ['unordered', 'key', 'partition'] as const) {
      const story = new Story().sent([undefined]).join({ ordering }).grant().deliver(0).deliver(0)
      story.breaks('no-overlap', 'billing: orders[0]@0 was handed out to b-1 while orders[0]@0 runs at b-1')
    }
  })

  test('a member has a key of two partitions in two calls', () => {
    const story = new Story().sent(['a']).sent(['a'], { partition: 1 }).join().grant().grant(0, { partition: 1 })
    story.deliver(0).deliver(0, { partition: 1 })
    story.breaks(
      'no-overlap',
      'billing: orders[1]@0 (key a) was handed out to b-1 while orders[0]@0 (key a) runs at b-1',
    )
  })

  test('two members may have the same key in two partitions', () => {
    const story = new Story().sent(['a']).sent(['a'], { partition: 1 }).join().grant()
    const other = { member: 'b-2', partition: 1 }
    story.join({ member: 'b-2' }).grant(0, other).deliver(0).deliver(0, other).isLegal()
  })

  test('a part of an array has ended', () => {
    const story = new Story().begin({ batchMax: 4 }).deliver(0, { call: 500 }).deliver(2, { call: 500 })
    story.done(0).deliver(2, { call: 501 })
    story.breaks(
      'no-overlap',
      'billing: orders[0]@2 (key a) was handed out to b-1 while orders[0]@2 (key a) runs at b-1',
    )
  })

  test('a crash, an abandon and a loss end calls; a duplicate is none', () => {
    const story = new Story().begin().deliver(0).deliver(0, { isDuplicate: true }).crash().restart({ position: 0 })
    story.join().grant().deliver(0).leave(true).join({ member: 'b-2' }).grant(0, { member: 'b-2' })
    story.deliver(0, { member: 'b-2' }).done(0).lose('b-2').join({ member: 'b-3' }).grant(0, { member: 'b-3' })
    story.deliver(0, { member: 'b-3' }).done(0, { member: 'b-2' }).done(0, { member: 'b-3' }).isLegal()
  })

  test('a member that closes without abandoning still has its calls', () => {
    const story = new Story().begin().deliver(0).leave(false).join({ member: 'b-2' }).deliver(0, { member: 'b-2' })
    story.breaks(
      'no-overlap',
      'billing: orders[0]@0 (key a) was handed out to b-2 while orders[0]@0 (key a) runs at b-1',
    )
  })
})

describe('no-repeat', () => {
  test('what is settled comes again after a seek only', () => {
    const story = new Story().begin().finish(0, 4).release().seek(1).grant(1)
    story.finish(1, 4).isLegal()
  })

  test('a settled message comes again', () => {
    const story = new Story().begin().finish(0, 4).deliver(3)
    story.breaks('no-repeat', 'billing: orders[0]@3 (key b) was handed out although it is finished for good')
  })

  test('a settled message comes again after a crash', () => {
    const story = new Story().begin().finish(0, 2).crash(true).restart({ position: 2 }).join().grant(2).deliver(1)
    story.breaks('no-repeat', 'billing: orders[0]@1 (key b) was handed out although it is finished for good')
  })

  test('what only the store knew to be settled comes again after a crash', () => {
    const story = new Story().begin().handle([0])
    story.settle([0, 1])
    story.crash().restart({ position: 1 }).join().grant(1).deliver(0)
    story.breaks('no-repeat', 'billing: orders[0]@0 (key a) was handed out although it is finished for good')
  })

  test('a done message of a partition that was given back comes again', () => {
    const story = new Story().begin().handle([0]).release().join({ member: 'b-2' }).grant(0, { member: 'b-2' })
    story.deliver(0, { member: 'b-2' })
    story.breaks('no-repeat', 'billing: orders[0]@0 (key a) was handed out again although it is done')
  })

  test('a message whose effects were refused while its partition is given back comes to the next owner', () => {
    const refused = (code: ErrorCode): Story => {
      const story = new Story().begin().handle([0])
      const settlement = story.settle([0, 1])
      story.add('unsettled', { group: 'billing', member: 'b-1', settlement, error: new QueueError(code, 'refused') })
      story.release().join({ member: 'b-2' }).grant(0, { member: 'b-2' })
      return story.deliver(0, { member: 'b-2' })
    }
    refused('CONFLICT').isLegal()
    refused('STORE_FULL').isLegal()
    refused('FENCED').breaks('no-repeat', 'billing: orders[0]@0 (key a) was handed out again although it is done')
  })

  test('a done message counts as failed: with an error of its handler, or of an end of the process', () => {
    const failed = (error: Error): Story => {
      const facts = { group: 'billing', topic: 'orders', partition: 0, offset: 0, key: 'a', attempt: 1, retryInMs: 0 }
      return new Story()
        .begin()
        .handle([0])
        .add('failed', { ...facts, error })
        .deliver(0, { attempt: 2 })
    }
    const text = 'billing: orders[0]@0 (key a) counts as failed although it is done'
    failed(new Error('no')).breaks('no-repeat', text)
    failed(new QueueError('PROCESS_ENDED', 'it ended')).breaks('no-repeat', text)
    // Its mark, or what was to commit with it, was refused.
    failed(new QueueError('FENCED', 'the lease is lost')).done(0).isLegal()
  })

  test('a message on purpose, an unsettled one after a crash, and one of a settlement from before a seek may come', () => {
    const story = new Story().begin().handle([0]).deliver(0, { isDuplicate: true }).crash().restart({ position: 0 })
    story.join().grant().handle([0])
    const settlement = story.settle([0, 1])
    story.leave(true).seek(0).settled(settlement, 0).join({ member: 'b-2' }).grant(0, { member: 'b-2' })
    story.handle([0], { member: 'b-2' }).isLegal()
  })
})

describe('bounds', () => {
  test('as many calls, attempts and messages as allowed', () => {
    const story = new Story().begin({ concurrency: 2, attempts: 2 }).deliver(0).deliver(1).fail(0, 0)
    story.deliver(0, { attempt: 2 }).done(1).deliver(3).done(3).done(0).isLegal()
  })

  test('a call too many', () => {
    const story = new Story().begin({ concurrency: 1 }).deliver(0).deliver(1)
    story.breaks('bounds', 'billing: orders[0]@1 (key b) was handed out to b-1 as call 2 of at most 1')
  })

  test('an attempt too many', () => {
    const story = new Story().begin({ attempts: 1 }).deliver(0).fail(0, 0).deliver(0, { attempt: 2 })
    story.breaks('bounds', 'billing: orders[0]@0 (key a) was handed out to b-1 as attempt 2 of 1')
  })

  test('a message too many in an array', () => {
    const story = new Story().begin({ batchMax: 2 })
    for (const offset of [0, 1, 2]) story.deliver(offset, { call: 500 })
    story.breaks('bounds', 'billing: orders[0]@2 (key a) was handed out to b-1 as message 3 of a call of at most 2')
  })

  test('a crash ends all calls', () => {
    const story = new Story().begin({ concurrency: 1 }).deliver(0).crash().restart({ position: 0 })
    story.join({ concurrency: 1 }).grant().handle([0]).deliver(1).isLegal()
  })
})

describe('time', () => {
  test('attempts follow each other, each after its back-off', () => {
    const story = new Story().begin().deliver(0).fail(0, 100)
    story.at = 100
    story.deliver(0, { attempt: 2 }).fail(0, 200)
    story.at = 300
    story.deliver(0, { attempt: 3 }).done(0).isLegal()
  })

  test('an attempt comes too early', () => {
    const story = new Story().begin().deliver(0).fail(0, 100)
    story.at = 99
    story.deliver(0, { attempt: 2 })
    story.breaks('time', 'billing: attempt 2 of orders[0]@0 (key a) began at 99 ms, but its back-off ends at 100 ms')
  })

  test('an attempt that none came before', () => {
    const story = new Story().begin().deliver(0, { attempt: 2 })
    story.breaks('time', 'billing: orders[0]@0 (key a) has attempt 2 without a failed one')
  })

  test('an attempt is left out', () => {
    const story = new Story().begin().deliver(0).fail(0, 0).deliver(0, { attempt: 3 })
    story.breaks('time', 'billing: attempt 3 of orders[0]@0 (key a) began at 0 ms after attempt 1')
  })

  test('a parked key begins anew, and not with the next attempt', () => {
    const told = { group: 'billing', member: 'b-1', key: undefined }
    new Story().begin().deliver(0).fail(0, undefined).add('renewed', told).deliver(0).done(0).isLegal()
    new Story()
      .begin()
      .deliver(0)
      .fail(0, undefined)
      .deliver(0)
      .breaks('time', 'billing: attempt 1 of orders[0]@0 (key a) began at 0 ms although its key was parked')
    const story = new Story().begin().deliver(0).fail(0, undefined).deliver(0, { attempt: 2 })
    story.breaks('time', 'billing: attempt 2 of orders[0]@0 (key a) began at 0 ms although its key was parked')
  })

  test('a new owner goes on counting, and waits as the old one would have', () => {
    const moved = (): Story => {
      const story = new Story().begin().deliver(0).fail(0, 1_000)
      story.settled(story.settle([], { failed: [{ offset: 0, attempts: 1 }] }), 0)
      return story.release().join({ member: 'b-2' }).grant(0, { member: 'b-2' })
    }
    const late = moved()
    late.at = 1_000
    late.deliver(0, { member: 'b-2', attempt: 2 }).isLegal()
    moved()
      .deliver(0, { member: 'b-2', attempt: 2 })
      .breaks('time', 'billing: attempt 2 of orders[0]@0 (key a) began at 0 ms, but its back-off ends at 1000 ms')
    moved()
      .deliver(0, { member: 'b-2' })
      .breaks('time', 'billing: attempt 1 of orders[0]@0 (key a) began at 0 ms after attempt 1')
  })

  test('a failure that a crash cut off may have been counted or not', () => {
    const crashed = (): Story => {
      const story = new Story().begin().deliver(0).fail(0, 0)
      story.settle([], { failed: [{ offset: 0, attempts: 1 }] })
      return story.crash().restart({ position: 0 }).join().grant(0)
    }
    crashed().deliver(0).isLegal()
    crashed().deliver(0, { attempt: 2 }).isLegal()
    crashed()
      .deliver(0, { attempt: 3 })
      .breaks('time', 'billing: attempt 3 of orders[0]@0 (key a) began at 0 ms after attempt 1')
  })

  test('a release after a crash that cut off the last failure begins anew, or goes on with what was counted', () => {
    const released = (): Story => {
      const story = new Story().begin().deliver(0).fail(0, 0)
      story.settled(story.settle([], { failed: [{ offset: 0, attempts: 1 }] }), 0)
      story.deliver(0, { attempt: 2 }).fail(0, undefined)
      story.settle([], { failed: [{ offset: 0, attempts: 2 }] })
      const told = { group: 'billing', member: 'b-1', key: undefined }
      return story.crash().restart({ position: 0 }).join().grant(0).add('renewed', told)
    }
    released().deliver(0).isLegal()
    released().deliver(0, { attempt: 2 }).isLegal()
    released()
      .deliver(0, { attempt: 3 })
      .breaks('time', 'billing: attempt 3 of orders[0]@0 (key a) began at 0 ms after attempt 0')
  })

  test('what an abandoned member fails with after its handler was done is no failure of the next owner', () => {
    const story = new Story().begin().deliver(0).leave(true).join({ member: 'b-2' }).grant(0, { member: 'b-2' })
    const failure = { group: 'billing', topic: 'orders', partition: 0, offset: 0, key: 'a', error: 'refused' }
    story.done(0).add('failed', { ...failure, attempt: 1, retryInMs: 10 })
    story.deliver(0, { member: 'b-2' }).isLegal()
  })

  test('a message that can not be read is tried again without having been handed out', () => {
    const story = new Story().begin()
    const failure = { group: 'billing', topic: 'orders', partition: 0, offset: 0, key: 'a', error: 'damaged' }
    story.add('failed', { ...failure, attempt: 1, retryInMs: 10 })
    story.at = 10
    story
      .add('failed', { ...failure, attempt: 2, retryInMs: 0 })
      .deliver(0, { attempt: 3 })
      .isLegal()
  })
})
