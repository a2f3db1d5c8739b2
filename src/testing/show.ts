import { isObject } from '../options.ts'

/** Longest value in a line of text. */
const maxLength = 60
/** Longest key of a message in a line of text. */
const maxKeyLength = 40
const maxDepth = 3
/** Most entries of a list that fit into a line. */
const maxEntries = 20
const plainWord = /^[\w.:@/+-]+$/

/** Shows a value in one short line: `{total: 40, items: ['a', 'b']}`. */
export function showValue(value: unknown): string {
  return cut(show(value, 0), maxLength)
}

/** Shows the key of a message: as it is where it is one word, else in quotes. */
export function showKey(key: string): string {
  return cut(plainWord.test(key) ? key : quoted(key), maxKeyLength)
}

/** Names an error: by its code, else its class; one that is only an `Error`, by its message. */
export function showError(error: unknown): string {
  if (!(error instanceof Error)) return showValue(error)
  if ('code' in error && typeof error.code === 'string') return error.code
  const name = error.constructor.name
  const own = name === '' || name === 'Error' ? error.name : name
  return own === 'Error' ? cut(`Error ${quoted(error.message)}`, maxLength) : own
}

function cut(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length - 1)}…`
}

/** In single quotes and in one line, whatever it holds. */
function quoted(text: string): string {
  const escaped = JSON.stringify(text.length > maxLength * 2 ? text.slice(0, maxLength * 2) : text)
  return `'${escaped
    .slice(1, -1)
    .replaceAll(String.raw`\"`, '"')
    .replaceAll("'", String.raw`\'`)}'`
}

function show(value: unknown, depth: number): string {
  if (typeof value === 'string') return quoted(value)
  if (typeof value === 'bigint') return `${value}n`
  if (typeof value === 'function') return `[${value.name || 'function'}]`
  if (typeof value !== 'object' || value === null) return String(value)
  if (depth > maxDepth) return '…'
  const part = (one: unknown): string => show(one, depth + 1)
  if (Array.isArray(value)) return `[${some(value, part)}]`
  if (value instanceof Map) return `Map {${some([...value], ([key, one]) => `${part(key)} => ${part(one)}`)}}`
  if (value instanceof Set) return `Set {${some([...value], part)}}`
  if (value instanceof Uint8Array) return `<${[...value.subarray(0, maxEntries)].map(hex).join(' ')}>`
  if (value instanceof Error) return showError(value)
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'no date' : value.toISOString()
  if (value instanceof RegExp) return String(value)
  if (!isObject(value)) return '…'
  return `{${some(Object.entries(value), ([name, one]) => `${/^[\w$]+$/.test(name) ? name : quoted(name)}: ${part(one)}`)}}`
}

/** The first ones: more than fit into a line are not even looked at. */
function some<T>(list: readonly T[], part: (one: T) => string): string {
  return list.slice(0, maxEntries).map(part).join(', ')
}

function hex(byte: number): string {
  return byte.toString(16).padStart(2, '0')
}
