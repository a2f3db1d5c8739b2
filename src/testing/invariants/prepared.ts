import type { HistoryEvent, PreparedDecision, PreparedIdentity } from '../history.ts'
import type { EventChecks, Invariant } from './invariant.ts'
import { placeText } from './place-map.ts'

/** What is known of a prepared message. */
class Prepared {
  readonly identity: PreparedIdentity
  /** Whether it is known to be stored. */
  isStored = false
  /** What somebody tried, with an outcome that is not known. */
  readonly tried = new Set<PreparedDecision>()
  decided: PreparedDecision | undefined
  /** Where it became visible. */
  readonly shown = new Set<string>()

  constructor(identity: PreparedIdentity) {
    this.identity = identity
  }

  get text(): string {
    const { producer, id, topic, key } = this.identity
    return `prepared message ${id} of ${producer} for ${topic}${key === undefined ? '' : ` (key ${key})`}`
  }
}

/** A prepared message becomes visible at most once, and never after a rollback; nobody loses it. */
export const prepared: Invariant = {
  name: 'prepared',
  about:
    'A prepared message stays until somebody decides; then it is visible once, or never if it was rolled back, whatever crashes.',
  begin: () => new PreparedMessages().checks,
}

class PreparedMessages {
  readonly #messages = new Map<string, Prepared>()
  /** Sends that make a prepared message visible. */
  readonly #sends = new Map<number, Prepared>()
  /** Topics of which a part was removed: what became visible there may not be there. */
  readonly #removed = new Set<string>()
  /** Messages that were gone after a crash, and so have to turn up. */
  #missing: Prepared[] = []

  readonly checks: EventChecks = {
    prepare: (event) => {
      this.#messages.set(nameOf(event), new Prepared(event))
    },
    prepared: (event) => {
      this.#at(event).isStored = true
    },
    unprepared: (event) => {
      if (isCertain(event.error)) this.#messages.delete(nameOf(event))
    },
    decide: (event) => {
      const message = this.#at(event)
      message.tried.add(event.decision)
      if (event.send !== undefined) this.#sends.set(event.send, message)
    },
    decided: (event) => this.#decided(event),
    undecided: (event) => {
      if (isCertain(event.error)) this.#at(event).tried.delete(event.decision)
    },
    acked: (event) => this.#shown(event),
    trimmed: ({ topic }) => void this.#removed.add(topic),
    'topic:deleted': ({ topic }) => void this.#removed.add(topic),
    snapshot: (event) => this.#look(event),
    wired: () => this.#found(),
  }

  #at(identity: PreparedIdentity): Prepared {
    const name = nameOf(identity)
    let message = this.#messages.get(name)
    if (message === undefined) this.#messages.set(name, (message = new Prepared(identity)))
    return message
  }

  #decided(event: HistoryEvent<'decided'>): string | undefined {
    const message = this.#at(event)
    const { decided: before, text } = message
    message.decided = event.decision
    message.tried.delete(event.decision)
    if (before !== undefined) return `${text}: ${event.decision} after ${before}`
    return event.decision === 'rollback' ? this.#visible(message) : undefined
  }

  #shown(event: HistoryEvent<'acked'>): string | undefined {
    const message = this.#sends.get(event.send)
    if (message === undefined) return
    const place = placeText(event)
    const [other] = message.shown
    message.shown.add(place)
    if (message.decided === 'rollback') return this.#visible(message)
    if (other === undefined || other === place) return
    return `${message.text} became visible twice: as ${other} and as ${place}`
  }

  #visible({ text, shown }: Prepared): string | undefined {
    const [place] = shown
    return place === undefined ? undefined : `${text} was rolled back, but is visible as ${place}`
  }

  #look({ reason, prepared: rows = [] }: HistoryEvent<'snapshot'>): string | undefined {
    let text: string | undefined
    const stored = new Set(rows.map(nameOf))
    for (const name of stored) {
      const message = this.#messages.get(name)
      if (message === undefined) text ??= `the store has prepared message ${name}, which nobody prepared`
      else if (message.decided !== undefined) text ??= `${message.text}: ${message.decided}, but the store still has it`
    }
    for (const [name, message] of this.#messages) {
      const isThere = stored.has(name)
      if (!isThere && message.isStored && message.decided === undefined) {
        if (message.tried.size === 0) text ??= `${message.text} is lost: nobody has decided about it`
        else if (reason === 'restart' && this.#mustShow(message)) this.#missing.push(message)
      }
      if (reason === 'restart') this.#restart(name, message, isThere)
    }
    return text
  }

  /** Whether it can only have become visible. */
  #mustShow({ tried, shown, identity }: Prepared): boolean {
    return !tried.has('rollback') && shown.size === 0 && !this.#removed.has(identity.topic)
  }

  #restart(name: string, message: Prepared, isThere: boolean): void {
    if (isThere) message.isStored = true
    // What is not there now will never be, and what was tried before the crash happened before it or never.
    else if (!message.isStored) this.#messages.delete(name)
    else if (message.decided === undefined) message.isStored = false
    message.tried.clear()
  }

  /** What the store has of sends without an answer is known by now. */
  #found(): string | undefined {
    const lost = this.#missing.find(({ shown }) => shown.size === 0)
    this.#missing = []
    return lost && `${lost.text} is gone after a crash, but is visible nowhere`
  }
}

function nameOf({ producer, id }: PreparedIdentity): string {
  return `${producer} ${id}`
}

/** Whether nothing was changed. Only a store that failed leaves that open. */
function isCertain(error: unknown): boolean {
  const code = (error as { code?: unknown } | undefined)?.code
  return code !== undefined && code !== 'STORE_FAILED' && code !== 'STORE_CORRUPT' && code !== 'INTERNAL'
}
