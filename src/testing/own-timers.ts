import { AsyncLocalStorage, createHook } from 'node:async_hooks'
import { nextTurn } from './real-loop.ts'

/** Runs `task` and counts the timers that it set (itself or in what it awaited) and that are still there. */
export async function countTimers(task: () => Promise<void>): Promise<number> {
  const inside = new AsyncLocalStorage<true>()
  const timers = new Set<number>()
  const hook = createHook({
    init: (id, type) => {
      if (type === 'Timeout' && inside.getStore()) timers.add(id)
    },
    destroy: (id) => {
      timers.delete(id)
    },
  })
  hook.enable()
  try {
    await inside.run(true, task)
    // Node.js tells of destroyed timers in the next turn.
    if (timers.size > 0) await new Promise<void>(nextTurn)
    if (timers.size > 0) await new Promise<void>(nextTurn)
    return timers.size
  } finally {
    hook.disable()
    inside.disable()
  }
}
