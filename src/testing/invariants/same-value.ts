import { isDeepStrictEqual } from 'node:util'

/** Whether a value that was sent is the one that came back: a codec may drop classes and what JSON does not know. */
export function isSameValue(sent: unknown, found: unknown): boolean {
  if (sent === found || isDeepStrictEqual(sent, found)) return true
  if (sent instanceof Uint8Array && found instanceof Uint8Array) return Buffer.compare(sent, found) === 0
  return jsonOf(sent) === jsonOf(found)
}

/** A value that JSON does not know equals only itself. */
function jsonOf(value: unknown): unknown {
  try {
    return JSON.stringify(value) ?? value
  } catch {
    return value
  }
}
