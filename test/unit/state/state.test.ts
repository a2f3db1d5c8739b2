import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Contributor } from '../../../src/contracts/storage.ts'
import { LocalState } from '../../../src/state/local-state.ts'
import { StateLog } from '../../../src/state/state-log.ts'
import { StateTable } from '../../../src/state/state-table.ts'
import { openMemoryStorage } from '../../../src/storage/memory-storage.ts'
import { VirtualRuntime } from '../../../src/testing/virtual-runtime.ts'
import { runs } from '../../runs.ts'

/** A table whose commits are made, and reach the disk, when the test says so. */
function scene() {
  const runtime = new VirtualRuntime()
  const storage = openMemoryStorage({ runtime })
  const marked = new Set<Contributor>()
  const table = new StateTable(storage, { mark: (contributor) => void marked.add(contributor), wait: () => {} })
  const underWay: (() => Promise<void>)[] = []
  const names = new Map<string, number>()
  const state = new LocalState(1, table, {
    find: (name) => names.get(name),
    create: (name) => names.set(name, names.size + 1).get(name)!,
    all: () => names,
  })
  return {
    table,
    state,
    accounts: state.space('accounts'),
    /** Makes a commit of what is marked; it is on its way. */
    commit(): void {
      if (!marked.delete(table)) return
      const writes = storage.batch()
      table.contribute(writes)
      underWay.push(async () => {
        await runtime.resolve(storage.commit(writes))
        table.flushed()
      })
    },
    /** How many writes the next commit takes. */
    contributed(): number {
      const writes = storage.batch()
      table.contribute(writes)
      return writes.size
    },
    /** The oldest commit under way reaches the disk. */
    flush: async () => underWay.shift()?.(),
    /** What a table of another life of the process sees. */
    reopened: () => new StateTable(storage, { mark: () => {}, wait: () => {} }),
  }
}

const key = (text: string): Buffer => Buffer.from(text)
/** One of the spaces has its rows named by text. */
const named = (space: number, text: string): string | Buffer => (space === 1 ? text : key(text))

describe('rows of state', () => {
  test('show at once, and are on disk after the commit', async () => {
    const { table, commit, flush, reopened } = scene()
    table.put(7, key('a'), key('1'))
    expect(table.get(7, key('a'))).toEqual(key('1'))
    expect(table.get(8, key('a')), 'another space').toBeUndefined()
    expect(reopened().get(7, key('a'))).toBeUndefined()
    commit()
    table.put(7, key('a'), key('2'))
    await flush()
    expect(table.get(7, key('a')), 'the newer value stays').toEqual(key('2'))
    expect(Buffer.from(reopened().get(7, key('a'))!)).toEqual(key('1'))
    commit()
    await flush()
    expect(Buffer.from(reopened().get(7, key('a'))!)).toEqual(key('2'))
  })

  test('are written once a commit, however often they change', () => {
    const { table, contributed } = scene()
    for (const value of ['1', '2', '3']) table.put(7, 'a', key(value))
    table.remove(7, 'b')
    table.put(7, 'b', key('4'))
    expect(contributed()).toBe(2)
    table.put(7, 'a', key('5'))
    expect(contributed(), 'the first commit has taken the others').toBe(1)
    expect(table.get(7, 'a')).toEqual(key('5'))
  })

  test('are what a sorted map holds, whatever is on disk, on its way or only marked', async () => {
    const keys = fc.constantFrom('', 'a', 'ab', 'b', 'ÿ', '😀', 'z')
    const space = fc.constantFrom(1, 2, 0xffff_ffff)
    const step = fc.oneof(
      { weight: 5, arbitrary: fc.record({ put: keys, value: fc.string(), space }) },
      { weight: 3, arbitrary: fc.record({ remove: keys, space }) },
      { weight: 2, arbitrary: fc.constant('commit' as const) },
      { weight: 2, arbitrary: fc.constant('flush' as const) },
      {
        weight: 5,
        arbitrary: fc.record({
          from: keys,
          to: fc.option(keys, { nil: undefined }),
          limit: fc.integer({ min: 1, max: 4 }),
          reverse: fc.boolean(),
          space,
        }),
      },
    )
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
        const { table, commit, flush } = scene()
        const model = new Map<number, Map<string, string>>([1, 2, 0xffff_ffff].map((id) => [id, new Map()]))
        for (const one of steps) {
          if (one === 'commit') commit()
          else if (one === 'flush') await flush()
          else if ('put' in one) {
            table.put(one.space, named(one.space, one.put), key(one.value))
            model.get(one.space)!.set(one.put, one.value)
          } else if ('remove' in one) {
            table.remove(one.space, named(one.space, one.remove))
            model.get(one.space)!.delete(one.remove)
          } else {
            const { from, to, limit, reverse } = one
            const inRange = [...model.get(one.space)!.entries()]
              .filter(([name]) => Buffer.compare(key(name), key(from)) >= 0)
              .filter(([name]) => to === undefined || Buffer.compare(key(name), key(to)) < 0)
              .sort(([a], [b]) => Buffer.compare(key(a), key(b)) * (reverse ? -1 : 1))
              .slice(0, limit)
            const page = table.range(one.space, {
              from: key(from),
              to: to === undefined ? undefined : key(to),
              limit,
              reverse,
            })
            expect(page.map((row) => [Buffer.from(row.key).toString(), Buffer.from(row.value).toString()])).toEqual(
              inRange,
            )
          }
        }
        for (const [id, rows] of model) {
          for (const [name, value] of rows) expect(Buffer.from(table.get(id, named(id, name))!).toString()).toBe(value)
        }
      }),
      runs(200),
    )
  })
})

describe('a transaction on state', () => {
  test('reads its own writes, which others see when it takes effect', () => {
    const { state, accounts } = scene()
    const transaction = state.begin()
    transaction.put(accounts, 'a', key('1'))
    transaction.put(accounts, 'b', key('2'))
    transaction.remove(accounts, 'b')
    expect(transaction.get(accounts, 'a')).toEqual(key('1'))
    expect(transaction.range(accounts, { limit: 9 }).map((entry) => entry.key)).toEqual(['a'])
    expect(state.get(accounts, 'a')).toBeUndefined()
    transaction.check()
    transaction.apply([])
    expect(state.range(accounts, { limit: 9 }).map((entry) => entry.key)).toEqual(['a'])
  })

  test('is refused when a key that it read has changed', () => {
    const { state, accounts } = scene()
    const reader = state.begin()
    reader.get(accounts, 'a')
    const writer = state.begin()
    writer.put(accounts, 'a', key('1'))
    writer.apply([])
    expect(() => reader.check()).toThrow(expect.objectContaining({ code: 'CONFLICT', store: 'accounts', key: 'a' }))
    const other = state.begin()
    other.get(accounts, 'b')
    other.check()
  })

  test('is refused when a key came into a range that it read, not when one came behind a full page', () => {
    const { state, accounts } = scene()
    const put = (name: string): void => {
      const writer = state.begin()
      writer.put(accounts, name, key('1'))
      writer.apply([])
    }
    put('b')
    const all = state.begin()
    all.range(accounts, { from: 'a', to: 'd', limit: 9 })
    const first = state.begin()
    first.range(accounts, { limit: 1 })
    put('c')
    expect(() => all.check()).toThrow(expect.objectContaining({ code: 'CONFLICT' }))
    first.check()
    put('a')
    expect(() => first.check()).toThrow(expect.objectContaining({ code: 'CONFLICT' }))
  })

  test('that only writes is never refused', () => {
    const { state, accounts } = scene()
    const one = state.begin()
    one.put(accounts, 'a', key('1'))
    const two = state.begin()
    two.put(accounts, 'a', key('2'))
    two.apply([])
    one.check()
  })

  test('remembers changes only while somebody reads, and a bounded number of them', () => {
    const log = new StateLog(2)
    log.changed(1, 'x')
    expect(log.isSame(1, 'x', 0), 'not known any more').toBe(false)
    log.open()
    const at = log.now
    for (const name of ['a', 'b', 'd']) log.changed(1, name)
    const since = log.now
    expect(log.isSame(1, 'c', at)).toBe(true)
    expect(log.isSame(1, 'b', at), 'among the older ones').toBe(false)
    expect(
      log.isSameIn(1, (name) => name === 'b', at),
      'among the older ones',
    ).toBe(false)
    expect(log.isSameIn(1, (name) => name === 'c', at)).toBe(true)
    log.changed(1, 'e')
    expect(log.isSame(1, 'c', at), 'too many to be remembered').toBe(false)
    expect(log.isSameIn(1, (name) => name === 'c', at)).toBe(false)
    expect(log.isSame(1, 'c', since), 'who began lately is not refused for that').toBe(true)
    expect(log.isSame(1, 'e', since)).toBe(false)
    expect(log.isSame(1, 'c', log.now)).toBe(true)
    log.close()
  })
})
