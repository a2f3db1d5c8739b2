import { describe, expect, test } from 'vitest'
import type { Storage, WriteBatch } from '../../../src/contracts/storage.ts'
import { QueueError } from '../../../src/errors.ts'
import { GroupCommit } from '../../../src/log/group-commit.ts'
import { VirtualRuntime } from '../../../src/testing/virtual-runtime.ts'

/** A storage whose commits end when the test says so. */
function scene(): {
  commit: GroupCommit
  runtime: VirtualRuntime
  /** Commits under way, oldest first, with what each writes. */
  underWay: { readonly keys: string[]; end: () => void; fail: (error: Error) => void }[]
  /** Everything that was told, in order. */
  told: string[]
  failures: QueueError[]
  put: (key: string) => void
  wait: (name: string) => void
} {
  const underWay: { keys: string[]; end: () => void; fail: (error: Error) => void }[] = []
  const told: string[] = []
  const failures: QueueError[] = []
  const runtime = new VirtualRuntime()
  const batch = (): WriteBatch & { keys: string[] } => {
    const keys: string[] = []
    return { keys, size: 0, put: (_table, key) => void keys.push(Buffer.from(key).toString()), remove: () => {} }
  }
  const storage = {
    batch,
    commit: (writes: WriteBatch) =>
      new Promise<void>((resolve, reject) => {
        underWay.push({ keys: (writes as unknown as { keys: string[] }).keys, end: resolve, fail: reject })
      }),
  } as unknown as Storage
  const commit = new GroupCommit(storage, runtime, (error) => failures.push(error))
  return {
    commit,
    runtime,
    underWay,
    told,
    failures,
    put: (key) =>
      commit.mark({
        contribute: (writes) => writes.put('log', Buffer.from(key), Buffer.from(key)),
        flushed: () => void told.push(`flushed ${key}`),
      }),
    wait: (name) =>
      commit.wait(
        () => void told.push(name),
        (error) => void told.push(`${name}: ${error.message}`),
        name,
      ),
  }
}

describe('group commit', () => {
  test('everything of one turn goes into one commit', async () => {
    const { commit, runtime, underWay, put, wait } = scene()
    for (const key of ['a', 'b', 'c']) {
      put(key)
      wait(key)
    }
    expect(underWay).toHaveLength(0)
    await runtime.settle()
    expect(underWay.map(({ keys }) => keys)).toEqual([['a', 'b', 'c']])
    expect(commit.commits).toBe(1)
  })

  test('a contributor that is marked twice writes once', async () => {
    const { commit, runtime, underWay } = scene()
    const contributor = { contribute: (writes: WriteBatch) => writes.put('log', Buffer.from('x'), Buffer.from('x')) }
    commit.mark(contributor)
    commit.mark(contributor)
    await runtime.settle()
    expect(underWay[0]!.keys).toEqual(['x'])
  })

  test('BOUND-21: at most two commits are under way; what arrives meanwhile forms the next one', async () => {
    const { runtime, underWay, put, told, wait } = scene()
    for (const key of ['a', 'b', 'c', 'd']) {
      put(key)
      wait(key)
      await runtime.settle()
    }
    expect(underWay.map(({ keys }) => keys)).toEqual([['a'], ['b']])
    underWay[0]!.end()
    await runtime.settle()
    expect(underWay.map(({ keys }) => keys)).toEqual([['a'], ['b'], ['c', 'd']])
    expect(told).toEqual(['flushed a', 'a'])
  })

  test('DURA-20: nobody is told before the commit that took the writes is flushed, and then in the order of the calls', async () => {
    const { runtime, underWay, put, told, wait } = scene()
    put('a')
    wait('first')
    wait('second')
    await runtime.settle()
    put('b')
    wait('third')
    await runtime.settle()
    expect(told).toEqual([])
    underWay[0]!.end()
    await runtime.settle()
    expect(told).toEqual(['flushed a', 'first', 'second'])
    underWay[1]!.end()
    await runtime.settle()
    expect(told).toEqual(['flushed a', 'first', 'second', 'flushed b', 'third'])
  })

  test('DURA-21: flush waits for everything marked before it, and only then resolves', async () => {
    const { commit, runtime, underWay, put, told } = scene()
    await commit.flush()
    put('a')
    await runtime.settle()
    void commit.flush().then(() => told.push('flush'))
    await runtime.settle()
    expect(told).toEqual([])
    while (underWay.some(({ end }) => end)) {
      underWay.shift()!.end()
      await runtime.settle()
    }
    expect(told).toEqual(['flushed a', 'flush'])
  })

  test('bytes count as in flight from the send to the flush', async () => {
    const { commit, runtime, underWay, put } = scene()
    put('a')
    commit.count(10)
    await runtime.settle()
    put('b')
    commit.count(5)
    expect(commit.inFlightBytes).toBe(15)
    await runtime.settle()
    underWay[0]!.end()
    await runtime.settle()
    expect(commit.inFlightBytes).toBe(5)
    underWay[1]!.end()
    await runtime.settle()
    expect(commit.inFlightBytes).toBe(0)
  })

  test('a contributor that has more to write marks itself again', async () => {
    const { commit, runtime, underWay } = scene()
    let left = 3
    const contributor = {
      contribute: (writes: WriteBatch) => writes.put('log', Buffer.from(`slice ${left--}`), Buffer.alloc(1)),
      flushed: () => {
        if (left > 0) commit.mark(contributor)
      },
    }
    commit.mark(contributor)
    for (let i = 0; i < 3; i++) {
      await runtime.settle()
      underWay[i]!.end()
    }
    await runtime.settle()
    expect(underWay.map(({ keys }) => keys[0])).toEqual(['slice 3', 'slice 2', 'slice 1'])
    await commit.settled()
  })

  test('LOSS-21: a failed commit fails everyone who waits, stops later ones and is told once', async () => {
    const { commit, runtime, underWay, put, told, wait, failures } = scene()
    put('a')
    wait('a')
    await runtime.settle()
    put('b')
    wait('b')
    await runtime.settle()
    put('c')
    wait('c')
    const failure = new QueueError('STORE_FAILED', 'no disk')
    underWay[0]!.fail(failure)
    await runtime.settle()
    underWay[1]!.end()
    await runtime.settle()
    expect(told.toSorted()).toEqual(['a: no disk', 'b: no disk', 'c: no disk'])
    expect(failures).toEqual([failure])
    put('d')
    wait('d')
    await expect(commit.flush()).rejects.toBe(failure)
    await runtime.settle()
    expect(underWay).toHaveLength(2)
    expect(told).toContain('d: no disk')
    await commit.settled()
  })

  test('a contributor that throws stops the log with INTERNAL instead of writing half a commit', async () => {
    const { commit, runtime, underWay, failures, put, wait, told } = scene()
    put('a')
    commit.mark({
      contribute() {
        throw new TypeError('broken')
      },
    })
    wait('w')
    await runtime.settle()
    expect(underWay).toHaveLength(0)
    expect(told).toHaveLength(1)
    expect(failures).toEqual([expect.objectContaining({ code: 'INTERNAL', cause: expect.any(TypeError) })])
    expect(commit.failure).toBe(failures[0])
  })

  test('QUIET-20: settled resolves when nothing is marked and nothing under way, also when the store fails', async () => {
    const { commit, runtime, underWay, put, told } = scene()
    await commit.settled()
    put('a')
    void commit.settled().then(() => told.push('settled'))
    await runtime.settle()
    expect(told).toEqual([])
    underWay[0]!.end()
    await runtime.settle()
    expect(told).toEqual(['flushed a', 'settled'])
    put('b')
    void commit.settled().then(() => told.push('settled again'))
    await runtime.settle()
    underWay[1]!.fail(new Error('no disk'))
    await runtime.settle()
    expect(told.at(-1)).toBe('settled again')
  })
})
