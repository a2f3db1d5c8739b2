/**
 * The parts of LMDB's file format (data version 2, as the pinned lmdb writes it) that a check needs: plain reading, no
 * native code, since native code trusts every byte. Numbers are in host order, and every platform with a binary is
 * little-endian.
 */

export const headerBytes = 24
const metaBytes = 144
export const nodeHeaderBytes = 8
export const treeBytes = 48
export const overflowBytes = 24
const noPage = 0xffffffff

export const pageFlags = { branch: 0x01, leaf: 0x02, overflow: 0x04, meta: 0x08 } as const
export const nodeFlags = { overflow: 0x01, tree: 0x02 } as const
export const lmdbMagic = 0xbeefc0de
export const lmdbVersion = 2

/** A B+tree as its parent describes it. */
export interface Tree {
  readonly pad: number
  readonly flags: number
  readonly depth: number
  readonly branchPages: number
  readonly leafPages: number
  readonly overflowPages: number
  readonly entries: number
  /** `undefined` when it is empty. */
  readonly root: number | undefined
}

/** One of the two pages that a transaction ends with; the one with the greater number is the store. */
export interface Meta {
  readonly magic: number
  readonly version: number
  readonly address: number
  readonly mapSize: number
  readonly pageSize: number
  readonly free: Tree
  readonly main: Tree
  readonly lastPage: number
  readonly transaction: number
}

export interface PageHeader {
  readonly number: number
  /** The transaction that wrote the page. */
  readonly transaction: number
  readonly flags: number
  /** End of the node pointers and start of the nodes, as bytes after the header. */
  readonly lower: number
  readonly upper: number
  /** Of an overflow page: how many pages the value takes. */
  readonly pages: number
}

/** A key with a value, a child page or a reference to overflow pages. */
export interface Node {
  readonly flags: number
  readonly key: Buffer
  /** In a leaf: the length of the value. */
  readonly dataBytes: number
  /** In a branch: the page below. */
  readonly child: number
  /** The page from the value, or the reference to it, on. */
  readonly data: Buffer
}

/** Where the value of a large entry is. */
export interface OverflowReference {
  readonly page: number
  readonly transaction: number
  readonly pages: number
}

/** Reads a 64-bit number; what is beyond 2^53 is damage and only has to stay large. */
export function readLong(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 2 ** 32
}

export function readHeader(page: Buffer): PageHeader {
  return {
    number: readLong(page, 0),
    transaction: readLong(page, 8),
    flags: page.readUInt16LE(18),
    lower: page.readUInt16LE(20),
    upper: page.readUInt16LE(22),
    pages: page.readUInt32LE(20),
  }
}

/** @returns `undefined` when the bytes are too few. */
export function readMeta(page: Buffer): Meta | undefined {
  if (page.byteLength < headerBytes + metaBytes) return undefined
  const meta = page.subarray(headerBytes)
  const free = readTree(meta, 24)
  return {
    magic: meta.readUInt32LE(0),
    version: meta.readUInt32LE(4),
    address: readLong(meta, 8),
    mapSize: readLong(meta, 16),
    pageSize: free.pad,
    free,
    main: readTree(meta, 72),
    lastPage: readLong(meta, 120),
    transaction: readLong(meta, 128),
  }
}

export function readTree(bytes: Buffer, at: number): Tree {
  const empty = bytes.readUInt32LE(at + 40) === noPage && bytes.readUInt32LE(at + 44) === noPage
  return {
    pad: bytes.readUInt32LE(at),
    flags: bytes.readUInt16LE(at + 4),
    depth: bytes.readUInt16LE(at + 6),
    branchPages: readLong(bytes, at + 8),
    leafPages: readLong(bytes, at + 16),
    overflowPages: readLong(bytes, at + 24),
    entries: readLong(bytes, at + 32),
    root: empty ? undefined : readLong(bytes, at + 40),
  }
}

/** @returns `undefined` when the node does not fit into the page. */
export function readNode(page: Buffer, at: number): Node | undefined {
  if (at < headerBytes || at + nodeHeaderBytes > page.byteLength) return undefined
  const low = page.readUInt32LE(at)
  const flags = page.readUInt16LE(at + 4)
  const dataAt = at + nodeHeaderBytes + page.readUInt16LE(at + 6)
  if (dataAt > page.byteLength) return undefined
  const key = page.subarray(at + nodeHeaderBytes, dataAt)
  return { flags, key, dataBytes: low, child: low + flags * 2 ** 32, data: page.subarray(dataAt) }
}

export function readOverflowReference(page: Buffer, at: number): OverflowReference {
  return { page: readLong(page, at), transaction: readLong(page, at + 8), pages: readLong(page, at + 16) }
}

/** How many pages a large value takes. */
export function overflowPagesOf(dataBytes: number, pageSize: number): number {
  return Math.floor((headerBytes - 1 + dataBytes) / pageSize) + 1
}
