import { durationMs, type Duration } from './duration.ts'
import type { Life } from './simulation/life.ts'

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

/** The clock that the wiring of one life gets: it stops with the life. */
export function clockOf({ runtime }: Life): Clock {
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
