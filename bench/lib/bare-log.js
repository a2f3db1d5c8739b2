import { open } from 'lmdb'

// What the engine's storage comes down to when nothing else is done: record batches put into LMDB with the same
// options, no checksum, no keys, no index of offsets, no limits.

const HEADER_BYTES = 64
const LENGTH_BYTES = 4

/** @param {string} path */
export function openBareLog(path) {
  const root = open({ path, overlappingSync: false, encoding: 'binary', keyEncoding: 'binary' })
  let nextOffset = 0
  return {
    /** Appends one record batch; resolves when it is on disk. @param {readonly Buffer[]} values */
    append(values) {
      const key = batchKey(nextOffset)
      nextOffset += values.length
      return root.put(key, encodeBatch(values))
    },
    close: () => root.close(),
  }
}

/** Partition 0 and the base offset, fixed width and big-endian, so that keys sort as offsets do. */
function batchKey(baseOffset) {
  const key = Buffer.alloc(10)
  key.writeUIntBE(baseOffset, 4, 6)
  return key
}

function encodeBatch(values) {
  let length = HEADER_BYTES
  for (const value of values) length += LENGTH_BYTES + value.length
  const batch = Buffer.allocUnsafeSlow(length)
  batch.fill(0, 0, HEADER_BYTES)
  let at = HEADER_BYTES
  for (const value of values) {
    at = batch.writeUInt32LE(value.length, at)
    batch.set(value, at)
    at += value.length
  }
  return batch
}

/**
 * The bare design of a durable `send`: what arrives while a commit is under way becomes the next record batch, at most
 * two commits are in flight, and each sender gets a promise of its own.
 *
 * @param {ReturnType<typeof openBareLog>} log
 */
export function groupCommit(log) {
  let values = []
  let resolvers = []
  let commits = 0
  let scheduled = false

  async function flush() {
    scheduled = false
    if (values.length === 0 || commits === 2) return
    const waiting = resolvers
    const written = log.append(values)
    values = []
    resolvers = []
    commits++
    await written
    commits--
    for (const resolve of waiting) resolve()
    void flush()
  }

  return {
    /** @param {Buffer} value @returns {Promise<void>} */
    send(value) {
      return new Promise((resolve) => {
        values.push(value)
        resolvers.push(resolve)
        if (scheduled || commits === 2) return
        scheduled = true
        setImmediate(() => void flush())
      })
    },
  }
}
