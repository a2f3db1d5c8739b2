import { describe, expect, test } from 'vitest'
import { defaultInvariants } from '../../../../src/testing/invariants/all.ts'
import { FinishedOffsets } from '../../../../src/testing/invariants/finished-offsets.ts'
import { Story } from './story.ts'

const gap = { group: 'billing', topic: 'orders', partition: 0 }

describe('at-least-once', () => {
  test('what is done, in this life or an earlier one, is settled', () => {
    const story = new Story().begin().handle([1, 0])
    story
      .settled(story.settle([0, 2]), 2)
      .handle([2])
      .crash()
      .restart({ position: 2 })
      .join()
      .grant(2)
    story.finish(2, 4).isLegal()
  })

  test('a message is settled that was never handed out, or is not done', () => {
    const story = new Story().begin().handle([0])
    story.settle([0, 2])
    story.breaks('at-least-once', 'billing: orders[0]@1 was settled although it was never done')
    const running = new Story().begin().deliver(0)
    running.settle([0, 1])
    running.breaks('at-least-once', 'billing: orders[0]@0 was settled although it was never done')
  })

  test('a failed message is settled', () => {
    const story = new Story().begin().deliver(0).fail(0, undefined)
    story.settle([0, 1])
    story.breaks('at-least-once', 'billing: orders[0]@0 was settled although it was never done')
  })

  test('a message that was done before a seek is settled after it', () => {
    const story = new Story().begin().finish(0, 4).release().seek(0).grant(0)
    story.settle([0, 1])
    story.breaks('at-least-once', 'billing: orders[0]@0 was settled although it was never done')
  })

  test('a message that an array took back is settled', () => {
    const story = new Story().begin({ batchMax: 4 }).deliver(0, { call: 500 }).deliver(2, { call: 500 })
    story.fail(0, 0).done(2)
    story.settle([2, 3])
    story.breaks('at-least-once', 'billing: orders[0]@2 was settled although it was never done')
  })

  test('removed messages, and offsets that hold none, are settled', () => {
    const story = new Story().begin().add('gap', { ...gap, from: 0, to: 2, count: 2 })
    story
      .settled(story.settle([0, 2]), 2)
      .settled(story.settle([10, 12]), 2)
      .isLegal()
  })

  test('an offset turns out to hold a message after it was settled', () => {
    const story = new Story().join().grant()
    story.settle([0, 1])
    story.sent(['a'])
    story.breaks('at-least-once', 'billing: orders[0]@0 was settled although it was never done')
  })

  test('an abandoned member asks for what it did', () => {
    const story = new Story().begin().deliver(0).leave(true).join({ member: 'b-2' }).grant(0, { member: 'b-2' }).done(0)
    story.unsettled(story.settle([0, 1]), 'FENCED').isLegal()
  })
})

describe('commit-watermark', () => {
  test('the position follows what is settled, however it comes', () => {
    const story = new Story().begin().handle([0, 1, 2, 3])
    story
      .settled(story.settle([1, 3]), 0)
      .settled(story.settle([0, 1]), 3)
      .settled(story.settle([3, 4]), 4)
      .isLegal()
  })

  test('the position passes an unfinished message', () => {
    const story = new Story().begin().handle([0, 1, 3])
    story.settled(story.settle([0, 2, 3, 4]), 4)
    story.breaks(
      'commit-watermark',
      'billing: the position 4 of orders[0] passed orders[0]@2, which was in no settlement',
    )
  })

  test('a partition is granted above what was settled', () => {
    const story = new Story().begin().finish(0, 1).release().grant(2)
    story.breaks(
      'commit-watermark',
      'billing: the position 2 of orders[0] passed orders[0]@1, which was in no settlement',
    )
  })

  test('what a settlement of no owner holds moves nothing', () => {
    const story = new Story().begin().handle([0]).leave(true).join({ member: 'b-2' }).grant(0, { member: 'b-2' })
    story.settle([0, 1])
    story.settled(story.settle([], { member: 'b-2' }), 1, { member: 'b-2' })
    story.breaks(
      'commit-watermark',
      'billing: the position 1 of orders[0] passed orders[0]@0, which was in no settlement',
    )
  })
})

describe('generation', () => {
  test('partitions come and go, one owner after the other', () => {
    const story = new Story().begin().finish(0, 1).release().join({ member: 'b-2' }).grant(1, { member: 'b-2' })
    story.finish(1, 2, { member: 'b-2' }).leave(true, 'b-2').grant(2).finish(2, 3).crash().restart({ position: 3 })
    story.join().grant(3).finish(3, 4).isLegal()
  })

  test('a second owner', () => {
    const story = new Story().begin().join({ member: 'b-2' }).grant(0, { member: 'b-2' })
    story.breaks('generation', 'billing: orders[0] was granted to b-2 with fence 102 while b-1 owns it with fence 101')
  })

  test('a fence that does not rise, over a restart even', () => {
    const story = new Story().begin().crash().restart({ position: 0 }).join().grant(0, { fence: 101 })
    story.breaks('generation', 'billing: orders[0] was granted to b-1 with fence 101, which does not rise above 101')
  })

  test('a message is handed out after its partition was given back, or with an old fence', () => {
    const story = new Story().begin().release().deliver(0)
    story.breaks('generation', 'billing: orders[0]@0 (key a) was handed out to b-1 with fence 101, but nobody owns it')
    const other = new Story().begin().deliver(0, { fence: 90 })
    other.breaks(
      'generation',
      'billing: orders[0]@0 (key a) was handed out to b-1 with fence 90, but b-1 owns it with fence 101',
    )
  })

  test('a partition is given back while a message runs', () => {
    const story = new Story().begin().deliver(0).release()
    story.breaks('generation', 'billing: b-1 gave back orders[0] with fence 101 while 1 of its messages run')
  })

  test('an abandoned member gives back late, and its settlement is refused', () => {
    const story = new Story().begin().deliver(0).leave(true).join({ member: 'b-2' }).grant(0, { member: 'b-2' }).done(0)
    story
      .unsettled(story.settle([0, 1]), 'FENCED')
      .release()
      .handle([0], { member: 'b-2' })
      .isLegal()
  })

  test('a settlement with an old fence is taken', () => {
    const story = new Story().begin().deliver(0).leave(true).join({ member: 'b-2' }).grant(0, { member: 'b-2' }).done(0)
    const settlement = story.settle([0, 1])
    story.settled(settlement, 0)
    story.breaks('generation', `billing: settlement ${settlement} of b-1 was taken although it has an old fence`)
  })

  test('a settlement of the owner is refused', () => {
    const story = new Story().begin().handle([0])
    const settlement = story.settle([0, 1])
    story.unsettled(settlement, 'FENCED')
    story.breaks(
      'generation',
      `billing: settlement ${settlement} of b-1 was refused although it owned all of its partitions`,
    )
  })

  test('a settlement that a failing store refuses, or that a lost member still has under way', () => {
    const story = new Story().begin().handle([0, 1])
    story
      .unsettled(story.settle([0, 1]), 'STORE_FAILED')
      .lose()
      .isLegal()
    const other = new Story().begin().handle([0, 1]).lose()
    other
      .settled(other.settle([0, 1]), 1)
      .release()
      .join({ member: 'b-2' })
      .grant(1, { member: 'b-2' })
      .isLegal()
  })

  test('a position goes back', () => {
    const story = new Story().begin().finish(0, 2).handle([2])
    story.settled(story.settle([2, 3]), 1)
    story.breaks('generation', 'billing: the position of orders[0] went back from 2 to 1')
    const other = new Story().begin().finish(0, 2).release().grant(0)
    other.breaks('generation', 'billing: orders[0] was granted to b-1 with fence 102 at position 0, which was 2 before')
  })
})

describe('liveness', () => {
  test('all is settled, or somebody waits', () => {
    new Story().begin().finish(0, 4).add('drained', { idle: 'empty', left: 0 }).isLegal()
    new Story().begin().finish(0, 2).add('drained', { idle: 'parked', left: 2 }).isLegal()
    new Story().begin().release().add('drained', { idle: 'empty', left: 0 }).isLegal()
    new Story().begin().finish(0, 2).trim(4).add('drained', { idle: 'empty', left: 0 }).isLegal()
  })

  test('something is left', () => {
    const story = new Story().begin().finish(0, 2).add('drained', { idle: 'empty', left: 2 })
    story.breaks('liveness', 'drain says that nothing is left, but 2 messages are')
  })

  test('a message is forgotten', () => {
    const story = new Story().begin().finish(0, 3).add('drained', { idle: 'empty', left: 0 })
    story.breaks('liveness', 'billing: nothing is left to be done, but orders[0]@3 was never settled by b-1')
  })

  test('a task of the engine throws', () => {
    const story = new Story().add('thrown', { error: new TypeError('x is undefined') })
    story.breaks('liveness', 'a task of the engine threw: TypeError: x is undefined')
  })
})

describe('store', () => {
  test('the store has what was settled, and perhaps what was on its way', () => {
    for (const position of [1, 3]) {
      const story = new Story().begin().finish(0, 1).handle([1, 2])
      story.settle([1, 3])
      story.crash().restart({ position }).isLegal()
    }
    const story = new Story().begin().handle([0, 1, 2])
    story
      .settled(story.settle([1, 3]), 0)
      .crash(true)
      .restart({ position: 0, finishedAbove: [1, 2] })
      .isLegal()
  })

  test('what was settled is lost', () => {
    const story = new Story()
      .begin()
      .finish(0, 3)
      .crash(true)
      .restart({ position: 1, finishedAbove: [2] })
    story.breaks('store', 'billing: orders[0]@1 was settled for good, but the store has it as unfinished')
  })

  test('the store has what nobody settled', () => {
    const story = new Story().begin().finish(0, 1).handle([1]).crash().restart({ position: 2 })
    story.breaks('store', 'billing: the store has orders[0]@1 as finished, but it was in no settlement')
    const other = new Story()
      .begin()
      .finish(0, 1)
      .snapshot('end', { position: 1, finishedAbove: [3] })
    other.breaks('store', 'billing: the store has orders[0]@3 as finished, but it was in no settlement')
  })

  test('the position is gone, or beyond the log', () => {
    const story = new Story().begin().finish(0, 1).crash().restart(undefined)
    story.breaks('store', 'billing: the store has lost the position of orders[0], which was 1')
    const other = new Story().begin().finish(0, 4).crash().restart({ position: 4 }, { end: 3 })
    other.breaks('store', 'billing: orders[0]@3 is finished, but the log ends at 3')
  })

  test('memory says something else than what was settled', () => {
    const story = new Story().begin().finish(0, 2).release().grant(1)
    story.breaks('store', 'billing: orders[0] was granted at position 1, but it was settled up to 2')
  })

  test('a crash may take a seek back, until the partition is granted again', () => {
    for (const position of [0, 4]) {
      const story = new Story().begin().finish(0, 4).release().seek(0).crash().restart({ position })
      story.join().grant(position).finish(position, 4).isLegal()
    }
    const story = new Story().begin().finish(0, 4).release().seek(0).grant(0).crash().restart({ position: 4 })
    story.breaks('store', 'billing: the store has orders[0]@0 as finished, but it was in no settlement')
  })

  test('half of a settlement is in the store', () => {
    const told = (positions: [number, number]): Story => {
      const story = new Story().sent(['a', 'b']).sent(['c', 'd'], { partition: 1 }).join().grant()
      story.grant(0, { partition: 1 }).handle([0]).handle([0], { partition: 1 })
      const partition = (partition: number, fence: number) => ({
        topic: 'orders',
        partition,
        fence,
        finished: [0, 1],
        failed: [],
      })
      story.settleAll([partition(0, 101), partition(1, 102)])
      story.crash()
      const place = { group: 'billing', topic: 'orders', finishedAbove: [] }
      const progress = positions.map((position, partition) => ({ ...place, partition, position }))
      const logs = story.logs.map((log, partition) => {
        const records = log.map((kept, offset) => ({ offset, ...kept }))
        return { topic: 'orders', partition, start: 0, end: 2, records }
      })
      return story.add('snapshot', { reason: 'restart', logs, progress })
    }
    told([0, 0]).isLegal()
    told([1, 1]).isLegal()
    const story = told([1, 0])
    story.breaks('store', 'billing: settlement 7 is in the store for orders[0], but not for orders[1]')
  })
})

test('a deleted topic is forgotten with all progress in it', () => {
  const story = new Story().begin().finish(0, 4).lose().add('topic:deleted', { topic: 'orders' })
  story.add('topic:created', { topic: 'orders', partitions: 1 })
  story.logs[0]!.length = 0
  story.begin().finish(0, 4).crash().restart({ position: 4 }).isLegal()
})

test('every invariant has a name of its own', () => {
  const names = defaultInvariants.map(({ name }) => name)
  expect(new Set(names).size).toBe(names.length)
  expect(names[0]).toBe('no-loss')
})

test('finished offsets: ranges, single ones, in any order', () => {
  const offsets = new FinishedOffsets(2)
  offsets.add(4)
  offsets.addPairs([6, 8, 3, 4])
  expect([offsets.position, ...offsets.above]).toEqual([2, 4, 6, 7, 3])
  offsets.add(2)
  expect([offsets.position, ...offsets.above]).toEqual([5, 6, 7])
  expect(offsets.firstMissingIn(new FinishedOffsets(3))).toBe(3)
  expect(offsets.firstMissingIn(new FinishedOffsets(7))).toBe(7)
  offsets.addRange(0, 7)
  expect([offsets.position, ...offsets.above]).toEqual([8])
  offsets.truncate(3)
  expect([offsets.position, offsets.has(2), offsets.has(3)]).toEqual([3, true, false])
})
