import { openSync, readFileSync, writeSync } from 'node:fs'

/**
 * What a group did, one record of 32 bytes after the other: eight numbers of 32 bits. A record is handed to the operating
 * system before the handler returns, so it outlives a SIGKILL of the process (not a power failure: this is about the
 * process). Every run of the worker writes a file of its own, so that a record torn by the kill can only be the last one.
 */
const WORDS = 8

/** The handler began to wait for something. */
export const STARTED = 1
/** The handler has done its work. */
export const DONE = 2

/**
 * @typedef {object} Entry
 * @property {number} event {@link STARTED} or {@link DONE}.
 * @property {number} partition
 * @property {number} offset
 * @property {Int32Array} values Five numbers of the group's own.
 */

export class Journal {
  #file
  #record = new Int32Array(WORDS)

  /** @param {string} path */
  constructor(path) {
    this.#file = openSync(path, 'ax')
  }

  /**
   * @param {number} event
   * @param {{ partition: number, offset: number }} message
   * @param {number[]} values At most five.
   */
  write(event, { partition, offset }, a = 0, b = 0, c = 0, d = 0, e = 0) {
    const record = this.#record
    record[0] = event
    record[1] = partition
    record[2] = offset
    record[3] = a
    record[4] = b
    record[5] = c
    record[6] = d
    record[7] = e
    const written = writeSync(this.#file, record)
    if (written !== record.byteLength) throw new Error(`${written} bytes of a journal record were written`)
  }
}

/**
 * The records of a journal in their order. What follows the last whole one was torn: its handler never returned, so it
 * counts as not done.
 *
 * @param {string} path
 * @returns {Generator<Entry>}
 */
export function* readJournal(path) {
  const bytes = readFileSync(path)
  const whole = Math.floor(bytes.length / (WORDS * 4))
  const words = new Int32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + whole * WORDS * 4))
  for (let at = 0; at < words.length; at += WORDS) {
    yield {
      event: words[at],
      partition: words[at + 1],
      offset: words[at + 2],
      values: words.subarray(at + 3, at + WORDS),
    }
  }
}
