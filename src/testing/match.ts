import { isDeepStrictEqual } from 'node:util'

/** Chooses values: those that have at least these fields (deeply), or those that a function accepts. */
export type Match<T> = ((value: T) => boolean) | DeepPartial<T>

/** A type of which every field may be left out. */
export type DeepPartial<T> = T extends object ? { readonly [K in keyof T]?: DeepPartial<T[K]> } : T

/** Whether `value` has what `match` asks for. Arrays and everything that is no plain object have to be equal. */
export function matches<T>(value: T, match: Match<T> | undefined): boolean {
  if (match === undefined) return true
  if (typeof match === 'function') return (match as (value: T) => boolean)(value)
  return hasAll(value, match)
}

function hasAll(value: unknown, wanted: unknown): boolean {
  if (!isPlain(wanted) || typeof value !== 'object' || value === null) return isDeepStrictEqual(value, wanted)
  return Object.entries(wanted).every(([name, part]) => hasAll((value as Record<string, unknown>)[name], part))
}

function isPlain(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}
