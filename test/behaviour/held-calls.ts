import type { HandlerContext, Message } from '../../src/index.ts'

interface HeldCall {
  readonly context: HandlerContext
  readonly resolve: (outcome?: unknown) => void
  readonly reject: (error: unknown) => void
}

/** A handler whose calls last until the test ends them. Calls are named by the value of their (first) message. */
export class HeldCalls {
  /** Values in the order they were handed out; those of one batch in one entry. */
  readonly started: string[] = []
  readonly attempts: number[] = []
  readonly #held = new Map<string, HeldCall[]>()

  /** For messages and for batches of them. */
  readonly handler = (input: Message<string> | Message<string>[], context: HandlerContext): Promise<unknown> => {
    const messages = Array.isArray(input) ? input : [input]
    const name = messages.map(({ value }) => value).join(' ')
    this.started.push(name)
    this.attempts.push(messages[0]!.attempt)
    return new Promise((resolve, reject) => {
      const held = this.#held.get(name) ?? []
      held.push({ context, resolve, reject })
      this.#held.set(name, held)
    })
  }

  /** Names of the calls that run, in the order they were started; one that runs twice is there twice. */
  get running(): string[] {
    return [...this.#held].flatMap(([name, held]) => held.map(() => name))
  }

  context(name: string): HandlerContext {
    return this.#held.get(name)![0]!.context
  }

  end(...names: string[]): void {
    for (const name of names) this.#take(name).resolve()
  }

  answer(name: string, outcome: unknown): void {
    this.#take(name).resolve(outcome)
  }

  fail(name: string, error: unknown = new Error(`${name} failed`)): void {
    this.#take(name).reject(error)
  }

  /** Ends whatever runs. */
  endAll(): void {
    for (const name of this.running) this.end(name)
  }

  #take(name: string): HeldCall {
    const held = this.#held.get(name)
    const call = held?.shift()
    if (call === undefined) throw new Error(`${name} does not run; these do: ${this.running.join(', ')}`)
    if (held!.length === 0) this.#held.delete(name)
    return call
  }
}
