import { isDeepStrictEqual } from 'node:util'
import { durationMs, showDuration, type Duration } from './duration.ts'
import type { DeliveredMessage } from './inspect-groups.ts'
import type { DeadMessage, PendingMessage, PublishedMessage } from './inspect.ts'
import { matches, type DeepPartial, type Match } from './match.ts'
import { showError } from './show.ts'

/** Chooses an error: by its class, a part of its message, a pattern of its message, or fields such as `code`. */
export type ErrorMatch =
  (abstract new (...args: never[]) => Error) | string | RegExp | { readonly [field: string]: unknown }

/** Chooses published messages: by fields (deeply, as far as given) or with a function. */
export type PublishedMatch<V = unknown> = Match<PublishedMessage<V>>
/** Chooses deliveries: by fields (deeply, as far as given) or with a function. */
export type DeliveredMatch = FieldsOrFunction<DeliveredMessage, { readonly error?: ErrorMatch }>
/** Chooses waiting messages: by fields or with a function; `in` is how long they wait from now. */
export type PendingMatch = FieldsOrFunction<PendingMessage, { readonly in?: Duration }>
/** Chooses messages that were given up: by fields (deeply, as far as given) or with a function. */
export type DeadMatch = FieldsOrFunction<DeadMessage, { readonly error?: ErrorMatch }>

type FieldsOrFunction<T, Own> = ((message: T) => boolean) | (DeepPartial<Omit<T, 'error'>> & Own)

type Fields = Readonly<Record<string, unknown>>

/** A match as assertions use it: with `error` and `in` understood. */
export class Pattern {
  /** What is asked for, as it is shown beside what was seen. */
  readonly wanted: unknown
  readonly #match: unknown
  readonly #dueMs: number | undefined

  /** @throws TestError `INVALID_OPTION` when `in` is no duration */
  constructor(match: unknown) {
    this.#match = match
    this.wanted = match
    if (!isFields(match)) return
    if (match['in'] !== undefined) this.#dueMs = durationMs(match['in'] as Duration, 'in')
    this.wanted = {
      ...match,
      ...(this.#dueMs === undefined ? {} : { in: showDuration(this.#dueMs) }),
      ...('error' in match ? { error: showErrorMatch(match['error']) } : {}),
    }
  }

  /** Whether fields are asked for, so that those of a candidate can be set beside them. */
  get hasFields(): boolean {
    return isFields(this.#match)
  }

  accepts(candidate: object): boolean {
    if (!isFields(this.#match)) return matches(candidate, this.#match as Match<object> | undefined)
    return Object.entries(this.#match).every(([name, wanted]) => this.#acceptsField(candidate as Fields, name, wanted))
  }

  /** A candidate with those of its fields that are asked for. */
  restrict(candidate: object): unknown {
    if (!isFields(this.#match)) return candidate
    const seen = candidate as Fields
    const fields = Object.entries(this.#match).map(([name, wanted]) => {
      if (name === 'in' && this.#dueMs !== undefined) return [name, showDuration(Number(seen['inMs']))]
      if (name !== 'error') return [name, restricted(seen[name], wanted)]
      const isMeant = this.#acceptsField(seen, name, wanted)
      return [name, isMeant ? showErrorMatch(wanted) : showSeenError(seen[name])]
    })
    return Object.fromEntries(fields)
  }

  /** How many of the fields that are asked for are different; 0 for a candidate that is accepted. */
  distance(candidate: object): number {
    if (!isFields(this.#match)) return this.accepts(candidate) ? 0 : 1
    const seen = candidate as Fields
    let distance = 0
    for (const [name, wanted] of Object.entries(this.#match)) {
      const isSpecial = name === 'error' || (name === 'in' && this.#dueMs !== undefined)
      distance += isSpecial ? Number(!this.#acceptsField(seen, name, wanted)) : differences(seen[name], wanted)
    }
    return distance
  }

  #acceptsField(seen: Fields, name: string, wanted: unknown): boolean {
    if (name === 'in' && this.#dueMs !== undefined) return seen['inMs'] === this.#dueMs
    if (name === 'error') return matchesError(seen['error'], wanted)
    return matches(seen[name], wanted as Match<unknown>)
  }
}

function matchesError(seen: unknown, wanted: unknown): boolean {
  if (typeof wanted === 'function') return seen instanceof wanted
  const message = seen instanceof Error ? seen.message : String(seen)
  if (typeof wanted === 'string') return message.includes(wanted)
  if (wanted instanceof RegExp) return message.search(wanted) !== -1
  if (!isFields(wanted)) return isDeepStrictEqual(seen, wanted)
  return matches(seen, wanted as Match<unknown>)
}

function showErrorMatch(wanted: unknown): unknown {
  if (typeof wanted === 'function') return wanted.name
  return wanted instanceof RegExp ? String(wanted) : wanted
}

function showSeenError(seen: unknown): unknown {
  if (!(seen instanceof Error)) return seen
  const name = showError(seen)
  return name.startsWith('Error') ? seen.message : `${name}: ${seen.message}`
}

function restricted(seen: unknown, wanted: unknown): unknown {
  if (!isFields(wanted) || typeof seen !== 'object' || seen === null) return seen
  return Object.fromEntries(
    Object.entries(wanted).map(([name, part]) => [name, restricted((seen as Fields)[name], part)]),
  )
}

function differences(seen: unknown, wanted: unknown): number {
  if (!isFields(wanted) || typeof seen !== 'object' || seen === null) return Number(!isDeepStrictEqual(seen, wanted))
  return Object.entries(wanted).reduce((sum, [name, part]) => sum + differences((seen as Fields)[name], part), 0)
}

function isFields(value: unknown): value is Fields {
  if (typeof value !== 'object' || value === null) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}
