import fs from 'node:fs'
import {
  headerBytes,
  lmdbMagic,
  lmdbVersion,
  type Meta,
  pageFlags,
  readHeader,
  readMeta,
  readTree,
} from './lmdb-format.ts'
import { Damage, readNodes } from './page-check.ts'
import type { ReadPages } from './tree-check.ts'

/** The first bytes do not say LMDB: whatever it is, it is not ours to judge. */
export class ForeignFile extends Error {}

const shortestPage = 512
const longestPage = 65536
/** No platform maps more. */
const largestMapBytes = 2 ** 46
/** What lmdb sets for the free list: keys are numbers. */
const freeListFlags = 0x08
/** Free pages at the end may not be in the file yet; more than this of them is damage. */
const mostMissingPages = 2 ** 22

/** A data file read without native code. */
export class DataFile {
  readonly #fd: number
  readonly bytes: number

  constructor(path: string) {
    this.#fd = fs.openSync(path, 'r')
    this.bytes = fs.fstatSync(this.#fd).size
  }

  close(): void {
    fs.closeSync(this.#fd)
  }

  /**
   * The meta page that lmdb would start from: the one with the later transaction.
   *
   * @throws {@link ForeignFile}, {@link Damage}
   */
  currentMeta(): Meta {
    if (this.bytes === 0) throw new Damage(0, 'the file is empty')
    const first = this.#metaAt(0, undefined)
    const second = this.#metaAt(1, first.pageSize)
    return second.transaction > first.transaction ? second : first
  }

  /** @throws {@link Damage} when the file ends before. */
  reader(pageSize: number): ReadPages {
    return (first, count) => this.#read(first * pageSize, count * pageSize, first)
  }

  /** The value of a small entry, found from the root of its table, whose pages must have been checked. */
  find(meta: Meta, table: string, key: Buffer): Buffer | undefined {
    const read = this.reader(meta.pageSize)
    const record = findIn(read, meta, meta.main, Buffer.from(`${table}\0`))
    if (record === undefined) return undefined
    return findIn(read, meta, readTree(record, 0), key)
  }

  #metaAt(index: number, knownPageSize: number | undefined): Meta {
    const at = index * (knownPageSize ?? 0)
    const page = this.#read(at, Math.min(headerBytes + 144, this.bytes - at), index)
    const meta = readMeta(page)
    if (index === 0 && meta?.magic !== lmdbMagic) throw new ForeignFile('it is not an LMDB file')
    if (index === 0 && meta?.version !== lmdbVersion) throw new ForeignFile('another release of LMDB made it')
    if (meta === undefined) throw new Damage(index, 'the file ends in it')
    const header = readHeader(page)
    const { pageSize, free } = meta
    const sound =
      meta.magic === lmdbMagic &&
      meta.version === lmdbVersion &&
      header.number === index &&
      header.flags === pageFlags.meta &&
      isPageSize(pageSize) &&
      (knownPageSize ?? pageSize) === pageSize &&
      free.flags === freeListFlags &&
      meta.main.flags === 0 &&
      meta.address === 0 &&
      meta.mapSize <= largestMapBytes &&
      meta.transaction < Number.MAX_SAFE_INTEGER &&
      meta.lastPage >= 1 &&
      meta.lastPage < Math.floor(this.bytes / pageSize) + mostMissingPages
    if (!sound) throw new Damage(index, 'it is no sound meta page')
    return meta
  }

  #read(at: number, bytes: number, page: number): Buffer {
    const buffer = Buffer.allocUnsafe(Math.max(0, bytes))
    for (let done = 0; done < buffer.byteLength;) {
      const read = fs.readSync(this.#fd, buffer, done, buffer.byteLength - done, at + done)
      if (read === 0) throw new Damage(page, 'the file ends in it')
      done += read
    }
    return buffer
  }
}

function isPageSize(bytes: number): boolean {
  return bytes >= shortestPage && bytes <= longestPage && (bytes & (bytes - 1)) === 0
}

function findIn(read: ReadPages, meta: Meta, tree: Meta['main'], key: Buffer): Buffer | undefined {
  let page = tree.root
  for (let level = tree.depth; page !== undefined && level > 0; level--) {
    const expected = { page, leaf: level === 1, transaction: meta.transaction, low: undefined, high: undefined }
    const nodes = readNodes(read(page, 1), { ...expected, compare: Buffer.compare })
    if (level === 1) {
      const found = nodes.find((node) => node.key.equals(key))
      return found?.data.subarray(0, found.dataBytes)
    }
    const next = nodes.findLast((node, i) => i === 0 || Buffer.compare(node.key, key) <= 0)
    page = next?.child
  }
  return undefined
}
