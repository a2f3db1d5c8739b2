import { durationMs, type Duration } from './duration.ts'
import type { Runtime } from '../runtime/runtime.ts'

/** Virtual time, for code under test that has to wait or to know what time it is. */
export interface Clock {
  /** Wall clock, in milliseconds since 1970. */
  now(): number
  /** Resolves after so much virtual time. Rejects with the signal's reason when it is aborted. */
  sleep(duration: Duration, options?: { readonly signal?: AbortSignal }): Promise<void>
  /**
   * Calls `task` again and again, `duration` apart, until the returned function is called. Not finite work: `drain` does
   * not wait for it.
   */
  every(duration: Duration, label: string, task: () => void): () => void
}

/** A clock on a runtime: that of one life, which stops with it, or the one that all lives share. */
export function clockOf({ runtime }: { readonly runtime: Runtime }): Clock {
  return {
    now: () => runtime.now(),
    sleep: (duration, options) => {
      const ms = durationMs(duration, 'duration')
      return new Promise((resolve, reject) => {
        const signal = options?.signal
        if (signal?.aborted) return reject(signal.reason as Error)
        const aborted = (): void => {
          timer.cancel()
          reject(signal!.reason as Error)
        }
        const timer = runtime.timer(ms, 'sleep', () => {
          signal?.removeEventListener('abort', aborted)
          resolve()
        })
        signal?.addEventListener('abort', aborted, { once: true })
      })
    },
    every: (duration, label, task) => {
      const ms = durationMs(duration, 'duration')
      const fire = (): void => {
        timer = runtime.timer(ms, `every ${label}`, fire, { background: true })
        task()
      }
      let timer = runtime.timer(ms, `every ${label}`, fire, { background: true })
      return () => timer.cancel()
    },
  }
}
