import { isThenable, type DispatchHandler } from '../../dispatch/deliveries.ts'
import type { CommitPart } from '../../contracts/commit-part.ts'
import type { OutputTopic } from '../../dispatch/collected-effects.ts'
import type { CallContext, HandlerContext } from '../../dispatch/handed-message.ts'
import type { StateReference, StateView } from '../../dispatch/state-view.ts'
import type { Message, OutgoingMessage } from '../../message.ts'
import type { Delivery } from '../history.ts'
import type { SimulatedMember } from './member.ts'
import { never, type ObservedLife } from './observed-life.ts'
import { placeLabel, type Fault, type Point, type PointName } from './point.ts'
import type { RunningCall } from './running-call.ts'

type Input = Message<unknown> | readonly Message<unknown>[]

/**
 * Stands between the dispatcher and the user's function. What the function does is noted, faults strike around it, and in
 * an explored schedule its begin and its end wait until they are chosen.
 */
export function observeHandler(member: SimulatedMember, life: ObservedLife): DispatchHandler {
  const handler = member.handler as (input: Input, context: HandlerContext) => unknown
  return ((input: Input, context: HandlerContext) => {
    if (life.isOver) return never()
    const call = begin(input, context, member, life)
    for (const delivery of call.deliveries) life.note('deliver', delivery)
    life.simulation.pass(pointOf('deliver', call), life)
    if (life.isOver) return never()
    const observed = new ObservedCall(call, handler, input, context, life)
    if (!life.simulation.isGated) return observed.run()
    return life.gate(`start ${call.text}`).then(async () => {
      const gate = (): Promise<void> => life.gate(`end ${call.text}`)
      try {
        const result = await observed.run()
        await gate()
        return result
      } catch (error) {
        await gate()
        throw error
      }
    })
  }) as DispatchHandler
}

function begin(input: Input, context: HandlerContext, member: SimulatedMember, life: ObservedLife): RunningCall {
  const { group, name } = member
  const messages = Array.isArray(input) ? (input as Message<unknown>[]) : [input as Message<unknown>]
  const call = life.simulation.number('call')
  const deliveries = messages.map(({ topic, partition, offset, key, attempt }): Delivery => {
    return {
      group,
      member: name,
      call,
      topic,
      partition,
      offset,
      key,
      attempt,
      // An array has one context, whose fence is the highest of its partitions.
      fence: Array.isArray(input) ? (member.fences.get(`${topic}/${partition}`) ?? context.fence) : context.fence,
      isDuplicate: false,
    }
  })
  const [first] = deliveries as [Delivery]
  const more = deliveries.length === 1 ? '' : ` and ${deliveries.length - 1} more`
  const text = `${group} ${placeLabel(first.topic, first.partition, first.offset)}${more}`
  const running: RunningCall = {
    deliveries,
    messages,
    member,
    text,
    isDuplicate: false,
    hasEnded: false,
    timeout: undefined,
    isInside: false,
    external: new Set(),
  }
  if (member.settings.timeLimit !== undefined) life.limited.set(context, running)
  return running
}

function pointOf(name: PointName, { deliveries, messages, text, member }: RunningCall): Point {
  const { group, topic, partition, offset, key, attempt } = deliveries[0]!
  return {
    name,
    label: `${name} ${text}`,
    group,
    topic,
    partition,
    offset,
    key,
    attempt,
    member: member.name,
    message: messages[0],
  }
}

/** One call of the user's function, with what faults make of it. */
class ObservedCall {
  readonly #call: RunningCall
  readonly #handler: (input: Input, context: HandlerContext) => unknown
  readonly #input: Input
  readonly #context: ObservedContext
  readonly #life: ObservedLife

  constructor(
    call: RunningCall,
    handler: (input: Input, context: HandlerContext) => unknown,
    input: Input,
    context: HandlerContext,
    life: ObservedLife,
  ) {
    this.#call = call
    this.#handler = handler
    this.#input = input
    this.#context = new ObservedContext(context, call, life)
    this.#life = life
  }

  /** As synchronous as the user's function, unless a fault makes it wait. */
  run(): unknown {
    this.#life.running.add(this.#call)
    const faults = this.#life.simulation.pass(pointOf('handler:start', this.#call), this.#life)
    if (this.#life.isOver) return never()
    const slow = faults.find((fault) => fault.kind === 'slow')
    const hangs = faults.some(({ kind }) => kind === 'hang')
    if (slow === undefined && !hangs) return this.#invoke(faults)
    const wait = hangs ? this.#life.simulation.lifted() : this.#life.sleep(slow!.ms)
    // Faults that end meanwhile strike no more.
    return wait.then(() => (this.#life.isOver ? never() : this.#invoke(this.#life.simulation.isLifted ? [] : faults)))
  }

  #invoke(faults: readonly Fault[]): unknown {
    const { messages } = this.#call
    this.#call.deliveries.forEach((delivery, i) => {
      const { value } = messages[i]!
      const { group, member, call, topic, partition, offset, key, attempt, fence } = delivery
      const { isDuplicate } = this.#call
      // Written out: a copy with a key more gets a hidden class of its own, every time.
      this.#life.note('start', {
        group,
        member,
        call,
        topic,
        partition,
        offset,
        key,
        attempt,
        fence,
        isDuplicate,
        value,
      })
    })
    let result: unknown
    let waits: boolean
    this.#call.isInside = true
    try {
      const failing = faults.find((fault) => fault.kind === 'error')
      if (failing) throw failing.error()
      result = this.#handler(this.#input, this.#context)
      // Asking may throw too.
      waits = isThenable(result)
    } catch (error) {
      return this.#failed(error)
    }
    if (!waits) return this.#done(result)
    return Promise.resolve(result as PromiseLike<unknown>).then(
      (outcome) => this.#done(outcome),
      (error: unknown) => this.#failed(error),
    )
  }

  /** As it is now. */
  #own(delivery: Delivery): Delivery {
    if (!this.#call.isDuplicate) return delivery
    const { group, member, call, topic, partition, offset, key, attempt, fence } = delivery
    return { group, member, call, topic, partition, offset, key, attempt, fence, isDuplicate: true }
  }

  #done(result: unknown): unknown {
    this.#call.isInside = false
    if (this.#life.isOver) return this.#life.zombie(`the handler ${this.#call.text} ended`)
    if (this.#call.timeout !== undefined) return this.#endLate(result)
    const retry = this.#context.call.effects?.retry
    const outcomes = outcomesOf(this.#call, result)
    let hasFailed = false
    this.#call.deliveries.forEach((delivery, i) => {
      const own = this.#own(delivery)
      const error = outcomes[i] instanceof Error ? outcomes[i] : retry
      if (error === undefined) return this.#life.note('done', own)
      hasFailed = true
      this.#life.note('error', { ...own, error })
    })
    const faults = this.#life.simulation.pass(pointOf('handler:done', this.#call), this.#life)
    if (this.#life.isOver) return never()
    // What failed, or asked to be tried again, is handed out once more anyhow: a second call would take its outcome away.
    if (!hasFailed && !this.#call.isDuplicate && faults.some(({ kind }) => kind === 'duplicate')) {
      this.#call.isDuplicate = true
      this.#context.beginAnew()
      return this.#invoke([])
    }
    this.#life.running.delete(this.#call)
    this.#call.hasEnded = true
    return result
  }

  /** It ends after its time: its outcome counts for nothing. */
  #endLate<T>(outcome: T): T {
    const { deliveries, timeout } = this.#call
    for (const delivery of deliveries) {
      const own = this.#own(delivery)
      if (timeout!.isAbandoned) this.#life.note('late', own)
      else this.#life.note('error', { ...own, error: timeout!.error })
    }
    this.#life.running.delete(this.#call)
    this.#call.hasEnded = true
    return outcome
  }

  #failed(error: unknown): unknown {
    this.#call.isInside = false
    if (this.#life.isOver) return this.#life.zombie(`the handler ${this.#call.text} failed`)
    if (this.#call.timeout !== undefined) throw this.#endLate(error)
    for (const delivery of this.#call.deliveries) {
      this.#life.note('error', { ...this.#own(delivery), error })
    }
    this.#life.simulation.pass(pointOf('handler:error', this.#call), this.#life)
    if (this.#life.isOver) return never()
    this.#life.running.delete(this.#call)
    this.#call.hasEnded = true
    throw error
  }
}

/** What an array handler returned for each message, as the engine reads it: too few or too many mean that all failed. */
function outcomesOf({ deliveries, member }: RunningCall, result: unknown): readonly unknown[] {
  if (member.settings.batch === undefined || !Array.isArray(result)) return []
  if (result.length === deliveries.length) return result
  return deliveries.map(() => new Error(`${result.length} outcomes for ${deliveries.length} messages`))
}

/** The user's context, which in a test knows what it waits for. */
class ObservedContext implements HandlerContext {
  readonly #inner: HandlerContext
  readonly #call: RunningCall
  readonly #life: ObservedLife

  constructor(inner: HandlerContext, call: RunningCall, life: ObservedLife) {
    this.#inner = inner
    this.#call = call
    this.#life = life
  }

  /** Handed out once more, a message begins with nothing collected, as after any other attempt. */
  beginAnew(): void {
    ;(this.#inner as CallContext).beginAnew()
  }

  get signal(): AbortSignal {
    return this.#inner.signal
  }

  get attempt(): number {
    return this.#inner.attempt
  }

  get fence(): number {
    return this.#inner.fence
  }

  extend(ms?: number): void {
    this.#inner.extend(ms)
  }

  send<V>(topic: OutputTopic<V>, message: OutgoingMessage<V>): void {
    this.#inner.send(topic, message)
  }

  store<V = unknown>(store: string | StateReference<V>): StateView<V> {
    return this.#inner.store(store)
  }

  deadLetter(reason: string): void {
    this.#inner.deadLetter(reason)
  }

  retryAt(time: number | Date): void {
    this.#inner.retryAt(time)
  }

  get call(): CallContext {
    return this.#inner.call
  }

  join(part: CommitPart): void {
    this.#inner.join(part)
  }

  external<T>(label: string, call: () => T): T {
    const result = call()
    if (!isThenable(result)) return result
    this.#call.external.add(label)
    this.#life.note('external', { text: `${this.#call.text}: ${label}`, isDeclared: true })
    const ended = (): void => {
      this.#call.external.delete(label)
    }
    const { simulation } = this.#life
    const waited = simulation.outside.declared(result, (task) => this.#life.later(`external ${label}`, task))
    waited.then(ended, ended)
    return waited as T
  }
}
