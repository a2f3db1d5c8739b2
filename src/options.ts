import { QueueError, type ErrorCode } from './errors.ts'
import { reservedPrefix } from './reserved-headers.ts'

/** What one option may be. */
export interface Field<T> {
  readonly allowed: string
  readonly accepts: (value: unknown) => boolean
  /** What an absent option becomes; required options have none. */
  readonly fallback: T | undefined
  readonly isRequired: boolean
}

type Fields<T> = { readonly [N in keyof T]-?: Field<T[N]> }

export function integer(low: number, high: number, fallback?: number): Field<number> {
  const accepts = (value: unknown): boolean =>
    Number.isSafeInteger(value) && (value as number) >= low && (value as number) <= high
  return { allowed: `a whole number from ${low} to ${high}`, accepts, fallback, isRequired: false }
}

/** A whole number, or Infinity for no limit. */
export function integerOrInfinity(low: number, fallback?: number): Field<number> {
  const accepts = (value: unknown): boolean =>
    value === Infinity || (Number.isSafeInteger(value) && (value as number) >= low)
  return { allowed: `a whole number from ${low} on, or Infinity`, accepts, fallback, isRequired: false }
}

export function decimal(low: number, high: number, fallback?: number): Field<number> {
  const accepts = (value: unknown): boolean => typeof value === 'number' && value >= low && value <= high
  return { allowed: `a number from ${low} to ${high}`, accepts, fallback, isRequired: false }
}

export function oneOf<T extends string>(values: readonly T[], fallback?: T): Field<T> {
  const allowed = values.map((value) => `'${value}'`).join(' or ')
  return { allowed, accepts: (value) => values.includes(value as T), fallback, isRequired: false }
}

export function flagged(fallback?: boolean): Field<boolean> {
  return { allowed: 'true or false', accepts: (value) => typeof value === 'boolean', fallback, isRequired: false }
}

export function abortSignal(): Field<AbortSignal> {
  return {
    allowed: 'an AbortSignal',
    accepts: (value) => value instanceof AbortSignal,
    fallback: undefined,
    isRequired: false,
  }
}

export function custom<T>(allowed: string, accepts: (value: unknown) => boolean, fallback?: T): Field<T> {
  return { allowed, accepts, fallback, isRequired: false }
}

export function required<T>(field: Field<T>): Field<T> {
  return { ...field, isRequired: true }
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/**
 * Checks options and fills in defaults, without touching the caller's object. An option that is `undefined` counts as
 * absent.
 *
 * @throws `INVALID_OPTION` naming the option, the value seen and what is allowed
 */
export function resolveOptions<T extends object>(given: unknown, fields: Fields<T>, where: string): T {
  if (given !== undefined && !isObject(given)) throw invalid(where, 'options', given, 'an object')
  const known = fields as Record<string, Field<unknown>>
  const seen = given ?? {}
  for (const name of Object.keys(seen)) {
    if (Object.hasOwn(known, name)) continue
    throw invalid(
      where,
      name,
      (seen as Record<string, unknown>)[name],
      `one of ${Object.keys(known).join(', ')}`,
      'is unknown',
    )
  }
  const resolved: Record<string, unknown> = {}
  for (const [name, field] of Object.entries(known)) {
    const value = (seen as Record<string, unknown>)[name]
    if (value === undefined) {
      if (field.isRequired) throw invalid(where, name, value, field.allowed, 'is missing')
      if (field.fallback !== undefined) resolved[name] = field.fallback
    } else if (field.accepts(value)) resolved[name] = value
    else throw invalid(where, name, value, field.allowed)
  }
  return resolved as T
}

export function invalid(where: string, option: string, value: unknown, allowed: string, what?: string): QueueError {
  const problem = what ?? `is ${show(value)}`
  return new QueueError('INVALID_OPTION', `${where}: option ${option} ${problem}; allowed is ${allowed}`, {
    option,
    value,
    allowed,
  })
}

/** A value in a few characters, for messages. */
export function show(value: unknown): string {
  if (typeof value === 'string') return `'${value.length > 60 ? `${value.slice(0, 60)}…` : value}'`
  if (typeof value === 'bigint') return `${value}n`
  if (typeof value === 'function') return 'a function'
  if (Array.isArray(value)) return `an array of ${value.length}`
  if (typeof value === 'object' && value !== null)
    return `an object with ${Object.keys(value).slice(0, 5).join(', ') || 'no fields'}`
  return String(value)
}

/** Names are Kafka's, so that they stay valid there: 1 to 249 of a-z, A-Z, 0-9, dot, underscore and hyphen, not only dots. */
const topicName = /^(?!\.{1,2}$)[a-zA-Z0-9._-]{1,249}$/

// Control characters are what it looks for.
const storeName = /^[^\u0000-\u001f\u007f-\u009f]{1,249}$/

// As stores, but for those of the engine: reservedPrefix.
const groupName = /^(?!lanemq\.)[^\u0000-\u001f\u007f-\u009f]{1,249}$/

/** @throws `INVALID_NAME` */
export function checkTopicName(name: unknown): asserts name is string {
  checkName('topic', name, topicName, '1 to 249 of a-z, A-Z, 0-9, dot, underscore and hyphen')
}

/** @throws `INVALID_NAME` */
export function checkGroupName(name: unknown): asserts name is string {
  checkName(
    'group',
    name,
    groupName,
    `1 to 249 characters without control characters, not beginning with ${reservedPrefix}`,
  )
}

/** @throws `INVALID_NAME` */
export function checkStoreName(name: unknown): asserts name is string {
  checkName('store', name, storeName, '1 to 249 characters without control characters')
}

/** @throws `INVALID_NAME` */
export function checkProducerName(name: unknown): asserts name is string {
  checkName('producer', name, groupName, '1 to 249 characters without control characters')
}

function checkName(what: string, name: unknown, pattern: RegExp, allowed: string): void {
  if (typeof name === 'string' && pattern.test(name) && name.isWellFormed()) return
  const code: ErrorCode = 'INVALID_NAME'
  throw new QueueError(code, `the ${what} name is ${show(name)}; allowed is ${allowed}`, {
    option: what,
    value: name,
    allowed,
  })
}
