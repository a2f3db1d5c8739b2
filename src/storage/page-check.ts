import {
  headerBytes,
  type Node,
  nodeFlags,
  nodeHeaderBytes,
  overflowBytes,
  pageFlags,
  readHeader,
  readNode,
  treeBytes,
} from './lmdb-format.ts'

/** A damage, in words; carries the page that has it. */
export class Damage extends Error {
  constructor(page: number, what: string) {
    super(`page ${page}: ${what}`)
  }
}

/** What a page of a tree must be, by what its parent and the meta page say. */
export interface Expected {
  readonly page: number
  readonly leaf: boolean
  /** The transaction of the meta page: no page is younger. */
  readonly transaction: number
  /** First key, inclusive, and end key, exclusive, of everything below. */
  readonly low: Buffer | undefined
  readonly high: Buffer | undefined
  readonly compare: (a: Buffer, b: Buffer) => number
}

/**
 * Reads the nodes of a page of a tree and checks everything that native code would trust.
 *
 * @throws {@link Damage}
 */
export function readNodes(page: Buffer, expected: Expected): Node[] {
  const header = readHeader(page)
  const fail = (what: string): never => {
    throw new Damage(expected.page, what)
  }
  const kind = expected.leaf ? pageFlags.leaf : pageFlags.branch
  if (header.number !== expected.page) fail(`its number is ${header.number}`)
  if (header.flags !== kind) fail(`its flags are ${header.flags} instead of ${kind}`)
  if (header.transaction > expected.transaction)
    fail(`transaction ${header.transaction} wrote it, which is not committed`)
  const room = page.byteLength - headerBytes
  const { lower, upper } = header
  if (lower % 2 !== 0 || lower > upper || upper > room) fail(`its bounds are ${lower} and ${upper}`)
  const count = lower >> 1
  if (count < (expected.leaf ? 1 : 2)) fail(`it has ${count} entries`)
  const nodes: Node[] = []
  let nodeBytes = 0
  for (let i = 0; i < count; i++) {
    const offset = page.readUInt16LE(headerBytes + 2 * i)
    const at = headerBytes + offset
    const node = offset < upper ? undefined : readNode(page, at)
    const size = node === undefined ? NaN : sizeOf(node, expected.leaf)
    if (node === undefined || at + size > page.byteLength) return fail(`entry ${i} is outside of the page`)
    nodeBytes += size + (size & 1)
    checkKey(node, nodes.at(-1), i, expected, fail)
    nodes.push(node)
  }
  // Nodes lie one beside the other, so overlapping or lost ones show in the sum.
  if (nodeBytes !== room - upper) fail(`its entries take ${nodeBytes} bytes instead of ${room - upper}`)
  return nodes
}

function sizeOf(node: Node, leaf: boolean): number {
  const key = nodeHeaderBytes + node.key.byteLength
  if (!leaf) return key
  return key + ((node.flags & nodeFlags.overflow) === 0 ? node.dataBytes : overflowBytes)
}

function checkKey(
  node: Node,
  previous: Node | undefined,
  index: number,
  expected: Expected,
  fail: (what: string) => never,
): void {
  // The first key of a branch is never looked at and is left empty.
  if (!expected.leaf && index === 0) return
  if (node.key.byteLength === 0) fail(`entry ${index} has no key`)
  const { low, high, compare } = expected
  const after = !expected.leaf && index === 1 ? undefined : previous?.key
  if (after !== undefined && !(compare(after, node.key) < 0)) fail(`entry ${index} is out of order`)
  if (low !== undefined && compare(node.key, low) < 0) fail(`entry ${index} is below the range of the page`)
  if (high !== undefined && compare(node.key, high) >= 0) fail(`entry ${index} is above the range of the page`)
  if (!expected.leaf) return
  const known = node.flags & ~(nodeFlags.overflow | nodeFlags.tree)
  if (known !== 0) fail(`entry ${index} has the flags ${node.flags}`)
  if ((node.flags & nodeFlags.tree) !== 0 && node.dataBytes !== treeBytes) fail(`entry ${index} describes no table`)
}
