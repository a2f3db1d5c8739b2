import type { SendOptions } from '../client/options.ts'
import type { Topic } from '../client/topic.ts'
import { isQueueError } from '../errors.ts'
import type { OutgoingMessage, SendResult } from '../message.ts'
import type { Life } from './simulation/life.ts'
import type { Simulation } from './simulation/simulation.ts'
import { TestError } from './test-error.ts'

/** How long a patient client waits before it sends again what found no room, in virtual milliseconds; then twice that. */
const firstWaitMs = 100

/**
 * The client that a test sends with. A patient one outlives crashes, as clients in other processes do: it finds out after
 * the restart what became of its send, and sends again what was lost, so that each message of a scenario is in the log
 * exactly once.
 */
export class Patience {
  readonly #simulation: Simulation
  readonly #isPatient: boolean
  readonly #topics = new WeakMap<Life, Map<string, Promise<Topic>>>()

  constructor(simulation: Simulation, isPatient: boolean) {
    this.#simulation = simulation
    this.#isPatient = isPatient
  }

  async send(name: string, message: OutgoingMessage<unknown>, options?: SendOptions): Promise<SendResult> {
    for (let waitMs = firstWaitMs; ; waitMs *= 2) {
      const { life } = this.#simulation
      const outcome = await this.#try(life, name, message, options)
      if (outcome.result !== undefined) return outcome.result
      if (outcome.error !== undefined) {
        if (!this.#isPatient || !isQueueError(outcome.error, 'STORE_FULL')) throw outcome.error
        // In the time of all lives: this one may end meanwhile.
        await new Promise<void>((again) => this.#simulation.runtime.timer(waitMs, 'sleep', again))
        continue
      }
      // It may have been acknowledged in the very moment of the crash.
      if (!this.#isPatient) {
        const known = this.#stored(outcome.send)
        if (known !== undefined) return known
        const { point } = this.#simulation.history.of('crash').at(-1)!
        throw new TestError('CRASHED', `the process crashed (${point}) before it answered the send to ${name}`)
      }
      await this.#restarted(life)
      const stored = this.#stored(outcome.send)
      if (stored !== undefined) return stored
    }
  }

  /** One try: a result, an error, or neither when the life ended first. */
  #try(
    life: Life,
    name: string,
    message: OutgoingMessage<unknown>,
    options: SendOptions | undefined,
  ): Promise<{ result?: SendResult; error?: unknown; send?: number }> {
    return new Promise((resolve) => {
      let send: number | undefined
      const forget = life.onEnd(() => resolve(send === undefined ? {} : { send }))
      if (life.isOver) return resolve({})
      const over = (outcome: { result?: SendResult; error?: unknown }): void => {
        forget()
        resolve(outcome)
      }
      this.#topic(life, name)
        .then((topic) => {
          const before = this.#simulation.sends
          const sent = topic.send(message, options)
          if (this.#simulation.sends > before) send = before
          return sent
        })
        .then(
          (result) => over({ result }),
          (error: unknown) => over({ error }),
        )
    })
  }

  #stored(send: number | undefined): SendResult | undefined {
    return send === undefined ? undefined : this.#simulation.stored.get(send)
  }

  /** Resolves when the life after this one runs. */
  #restarted(dead: Life): Promise<void> {
    if (this.#simulation.life !== dead && !this.#simulation.isStarting) return Promise.resolve()
    return new Promise((resolve) => {
      const forget = this.#simulation.onRestart(() => {
        forget()
        resolve()
      })
    })
  }

  #topic(life: Life, name: string): Promise<Topic> {
    let known = this.#topics.get(life)
    if (known === undefined) this.#topics.set(life, (known = new Map()))
    const opened = known.get(name)
    if (opened !== undefined) return opened
    const codec = this.#simulation.codecs.get(name)
    const opening = life.mq.topic(name, codec === undefined ? {} : { codec })
    known.set(name, opening)
    // The next send tries again.
    opening.catch(() => known.delete(name))
    return opening
  }
}
