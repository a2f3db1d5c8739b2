import { expect, test } from 'vitest'
import type { Runtime } from '../../src/runtime/runtime.ts'
import { CommitLine } from '../../src/storage/commit-line.ts'
import { WriteList } from '../../src/storage/write-list.ts'

/** A store that answers when the test says so, and a clock that moves when the test says so. */
class Scene {
  now = 0
  readonly timers: { at: number; task: () => void }[] = []
  readonly writes: { applied: (whether: boolean) => void; failed: (error: unknown) => void }[] = []
  readonly refuse: Error[] = []
  readonly line: CommitLine
  readonly settled: string[] = []

  constructor(timeoutMs = 1_000) {
    const runtime: Runtime = {
      now: () => this.now,
      monotonic: () => this.now,
      timer: (delayMs, _label, task) => {
        const timer = { at: this.now + delayMs, task }
        this.timers.push(timer)
        return { cancel: () => this.timers.splice(this.timers.indexOf(timer) >>> 0, 1) }
      },
      soon: (_label, task) => queueMicrotask(task),
      later: (_label, task) => void setImmediate(task),
      random: () => 0,
      warn: () => {},
    }
    const write = (): Promise<boolean> => {
      const refusal = this.refuse.pop()
      if (refusal !== undefined) throw refusal
      return new Promise((applied, failed) => this.writes.push({ applied, failed }))
    }
    this.line = new CommitLine({ path: '/store', runtime, timeoutMs, write, explain: async (error) => error })
  }

  commit(name: string): void {
    this.line.commit(new WriteList()).then(
      () => this.settled.push(name),
      (error: Error & { code: string }) => this.settled.push(`${name} ${error.code}`),
    )
  }

  async pass(ms: number): Promise<void> {
    this.now += ms
    for (const timer of this.timers.filter(({ at }) => at <= this.now)) {
      this.timers.splice(this.timers.indexOf(timer), 1)
      timer.task()
    }
    await this.rest()
  }

  async rest(): Promise<void> {
    for (let i = 0; i < 10; i++) await Promise.resolve()
  }
}

test('DURA-8: an overdue commit stops the store: its outcome is unknown, and later commits fail at once', async () => {
  const scene = new Scene()
  scene.commit('a')
  await scene.pass(500)
  scene.commit('b')
  await scene.pass(499)
  expect(scene.settled).toEqual([])
  await scene.pass(1)
  expect(scene.settled).toEqual(['a STORE_FAILED', 'b STORE_FAILED'])
  expect(scene.line.failure?.message).toMatch(/commitTimeoutMs \(1000 ms\); the outcome of 2 commit\(s\) is unknown/)
  scene.commit('c')
  scene.writes[0]?.applied(true)
  await scene.rest()
  expect(scene.settled).toEqual(['a STORE_FAILED', 'b STORE_FAILED', 'c STORE_FAILED'])
  expect(scene.writes).toHaveLength(2)
})

test('one timer watches all commits, and none is left when they are done', async () => {
  const scene = new Scene()
  scene.commit('x')
  for (let i = 0; i < 150; i++) {
    scene.commit('x')
    scene.writes.at(-2)?.applied(true)
    await scene.pass(10)
    expect(scene.timers).toHaveLength(1)
  }
  scene.writes.at(-1)?.applied(true)
  await scene.rest()
  expect(scene.timers).toHaveLength(0)
  expect(scene.line.failure).toBeUndefined()
})

test('DURA-9: after a failed commit no later one reaches the store, and one that did is not taken for stored', async () => {
  const scene = new Scene()
  const heard: string[] = []
  scene.line.onFailure((error) => heard.push(error.message))
  scene.commit('a')
  scene.commit('b')
  scene.writes[0]?.failed(Object.assign(new Error('I/O error'), { code: 'EIO' }))
  await scene.rest()
  scene.commit('c')
  await scene.rest()
  expect(scene.settled).toEqual(['a STORE_FAILED', 'b STORE_FAILED', 'c STORE_FAILED'])
  expect(scene.writes).toHaveLength(2)
  expect(heard).toHaveLength(1)
  scene.writes[1]?.applied(true)
  await scene.rest()
  expect(scene.settled).toHaveLength(3)
  expect(scene.line.sound).toBe(false)
})

test('a commit that was skipped because the one before it failed stops the store too', async () => {
  const scene = new Scene()
  scene.commit('a')
  scene.writes[0]?.applied(false)
  await scene.rest()
  expect(scene.settled).toEqual(['a STORE_FAILED'])
})

test('a commit that is refused before it is written lets those under way settle', async () => {
  const scene = new Scene()
  scene.commit('a')
  scene.refuse.push(Object.assign(new Error('full'), { code: 'ENOSPC' }))
  scene.commit('b')
  scene.commit('c')
  await scene.rest()
  expect(scene.settled).toEqual([])
  scene.writes[0]?.applied(true)
  await scene.rest()
  expect(scene.settled).toEqual(['a', 'b STORE_FAILED', 'c STORE_FAILED'])
  expect(scene.line.failure?.message).toMatch(/no room on the disk \(ENOSPC\); 2 commit\(s\) were not written/)
  expect(scene.line.sound).toBe(true)
})

test('commits made while the line is held go on in order, and their time counts from then', async () => {
  const scene = new Scene()
  scene.commit('a')
  let held = false
  void scene.line.hold().then(() => (held = true))
  scene.commit('b')
  scene.commit('c')
  expect(scene.writes).toHaveLength(1)
  scene.writes[0]?.applied(true)
  await scene.rest()
  expect(held).toBe(true)
  await scene.pass(5_000)
  expect(scene.settled).toEqual(['a'])
  scene.line.release()
  await scene.pass(900)
  scene.writes[1]?.applied(true)
  scene.writes[2]?.applied(true)
  await scene.rest()
  expect(scene.settled).toEqual(['a', 'b', 'c'])
})
