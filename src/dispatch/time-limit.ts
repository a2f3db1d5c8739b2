import type { State } from '../contracts/state.ts'
import { QueueError } from '../errors.ts'
import type { EventHub } from '../events.ts'
import type { Runtime } from '../runtime/runtime.ts'
import { Deadlines, type Expiring } from './deadlines.ts'
import { leftRunning, type DeliveredEntry } from './delivered-entry.ts'
import { CallContext, checkExtension } from './handed-message.ts'

/** How long a handler call may take; every field is set. */
export interface TimeLimitSettings {
  readonly limitMs: number
  readonly onTimeout: 'wait' | 'abandon'
}

/** The handler calls of a subscription whose time is limited. Where no limit is set there is none of this. */
export class TimeLimit {
  readonly settings: TimeLimitSettings
  readonly #group: string
  readonly #runtime: Runtime
  readonly #events: EventHub
  readonly #deadlines: Deadlines

  constructor(settings: TimeLimitSettings, group: string, runtime: Runtime, events: EventHub) {
    this.settings = settings
    this.#group = group
    this.#runtime = runtime
    this.#events = events
    this.#deadlines = new Deadlines(runtime, `time limit ${group}`)
  }

  /** A handler is about to be called: its time begins. */
  begin(attempt: number, fence: number, state: State | undefined): LimitedContext {
    return new LimitedContext(attempt, fence, state, this)
  }

  /** The handler takes time. `onTimeout` is called once if that gets too long. */
  watch(context: LimitedContext, onTimeout: () => void): void {
    context.onTimeout = onTimeout
    this.#deadlines.add(context)
  }

  /** The call has ended; returns the error that it failed with if its time was over before. */
  end(context: LimitedContext): QueueError | undefined {
    this.#deadlines.remove(context)
    return context.timeout
  }

  /** The time of a call is over: it can't commit anything any more, and is told so by its signal. */
  expire(context: LimitedContext, entries: readonly DeliveredEntry[]): QueueError {
    const group = this.#group
    const [first] = entries as [DeliveredEntry]
    const error = timedOut({ group, ...leftRunning(first) }, this.#runtime.monotonic() - context.startedAt)
    context.timeOut(error)
    context.abort(error)
    const isAbandoned = this.settings.onTimeout === 'abandon'
    for (const entry of entries) {
      this.#events.emit('message:timed-out', {
        group,
        ...leftRunning(entry),
        attempt: entry.attempt,
        error,
        isAbandoned,
      })
    }
    return error
  }

  /** When the time of a call is over that has so many milliseconds from now on. */
  dueIn(ms: number): number {
    return this.#runtime.monotonic() + ms
  }

  move(context: LimitedContext, dueAt: number): void {
    this.#deadlines.move(context, dueAt)
  }

  /** Nothing runs: no timer has to be kept. */
  rest(): void {
    this.#deadlines.rest()
  }

  /** Nothing is late any more. */
  stop(): void {
    this.#deadlines.stop()
  }
}

/** The limit that a subscription asks for, if any. */
export function timeLimitOf(
  { group, timeLimit }: { readonly group: string; readonly timeLimit: TimeLimitSettings | undefined },
  runtime: Runtime,
  events: EventHub,
): TimeLimit | undefined {
  return timeLimit && new TimeLimit(timeLimit, group, runtime, events)
}

/** The context of a handler call whose time is limited. */
export class LimitedContext extends CallContext implements Expiring {
  dueAt: number
  place = -1
  readonly startedAt: number
  onTimeout: (() => void) | undefined
  readonly #limit: TimeLimit
  #timeout: QueueError | undefined

  constructor(attempt: number, fence: number, state: State | undefined, limit: TimeLimit) {
    super(attempt, fence, state)
    this.#limit = limit
    this.startedAt = limit.dueIn(0)
    this.dueAt = this.startedAt + limit.settings.limitMs
  }

  override get timeout(): QueueError | undefined {
    return this.#timeout
  }

  override extend(ms: number = this.#limit.settings.limitMs): void {
    checkExtension(ms)
    const { timeout } = this
    if (timeout) throw new QueueError('FENCED', `it is too late for more time: ${timeout.message}`, { cause: timeout })
    if (this.isEnded) throw new QueueError('FENCED', 'the handler call has ended: it needs no more time')
    this.#limit.move(this, this.#limit.dueIn(ms))
  }

  timeOut(error: QueueError): void {
    this.#timeout = error
    this.end()
  }

  expire(): void {
    this.onTimeout!()
  }
}

type Where = { readonly group: string } & ReturnType<typeof leftRunning>

function timedOut({ key, ...place }: Where, ms: number): QueueError {
  const { group, topic, partition, offset } = place
  const message = `the handler of offset ${offset} of ${topic}/${partition} in group ${group} was not done after ${Math.round(ms)} ms`
  return new QueueError('HANDLER_TIMEOUT', message, { ...place, ...(key === undefined ? {} : { key }) })
}
