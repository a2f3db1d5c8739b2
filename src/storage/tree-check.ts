import { tables } from '../contracts/storage.ts'
import {
  type Meta,
  type Node,
  nodeFlags,
  overflowPagesOf,
  pageFlags,
  readHeader,
  readLong,
  readOverflowReference,
  readTree,
  type Tree,
} from './lmdb-format.ts'
import { Damage, readNodes } from './page-check.ts'

/** Reads pages of the data file. */
export type ReadPages = (first: number, count: number) => Buffer

export interface TreeCheckOptions {
  readonly meta: Meta
  readonly read: ReadPages
  /** Whole pages in the file. */
  readonly filePages: number
  /** Told of each damage; throw to end the check. */
  readonly report: (damage: Damage) => void
  /**
   * How many pages of trees may be read; then only what those refer to is checked. Pages near the roots come first.
   * First pages of large values come last.
   */
  readonly budget: number
}

interface Visit {
  readonly tree: string
  readonly page: number
  /** 1 is the level of leaves. */
  readonly level: number
  readonly low: Buffer | undefined
  readonly high: Buffer | undefined
}

interface Counts {
  branchPages: number
  leafPages: number
  overflowPages: number
  entries: number
}

/** Our tables, and the flags that lmdb stores with them: 0x100 for entries with versions. */
const tableFlags: ReadonlyMap<string, number> = new Map([
  ...tables.map((name) => [name, 0] as const),
  ['commits', 0x100],
])
const freeTree = 'free list'
const mainTree = 'main'
const deepest = 24

/**
 * Checks the trees of a data file, from the roots in a meta page.
 *
 * A page may be used once: by a tree, as part of a large value, or by the free list. A page that nobody uses is lost
 * space, not damage.
 */
export class TreeCheck {
  readonly #options: TreeCheckOptions
  readonly #used: Uint8Array
  readonly #visits: Visit[] = []
  /** Large values whose first page is read if the trees leave some of the budget. */
  readonly #overflows: { page: number; pages: number }[] = []
  readonly #trees = new Map<string, { tree: Tree; counts: Counts }>()
  readonly #whole: boolean
  #left: number
  /** No page of a tree was left out, so that counts can be compared. */
  #complete = true
  #freeBeyondFile = 0

  constructor(options: TreeCheckOptions) {
    this.#options = options
    this.#used = new Uint8Array((options.meta.lastPage >> 3) + 1)
    this.#whole = options.budget === Infinity
    this.#left = options.budget
  }

  /** The tables of the store by name, complete after {@link TreeCheck.run}. */
  get tables(): ReadonlyMap<string, Tree> {
    return new Map([...this.#trees].map(([name, { tree }]) => [name, tree]))
  }

  /** How many free pages lie behind the end of the file, where they were never written. */
  get freeBeyondFile(): number {
    return this.#freeBeyondFile
  }

  /** One page a step. */
  *run(roots: 'all' | 'free list' = 'all'): Generator<void> {
    const { meta } = this.#options
    if (roots === 'all') this.#attempt(() => this.#enter(mainTree, meta.main))
    this.#attempt(() => this.#enter(freeTree, meta.free))
    while (this.#visits.length > 0 && this.#left-- > 0) {
      // Breadth first reaches all branches within a budget; depth first needs no memory for a whole store.
      const visit = (this.#whole ? this.#visits.pop() : this.#visits.shift()) as Visit
      this.#attempt(() => this.#visit(visit))
      yield
    }
    for (const { page, pages } of this.#overflows.splice(0)) {
      if (this.#left-- > 0) this.#attempt(() => this.#checkOverflow(page, pages))
      yield
    }
    if (this.#complete && this.#visits.length === 0)
      for (const name of this.#trees.keys()) this.#attempt(() => this.#checkCounts(name))
  }

  #enter(name: string, tree: Tree): void {
    this.#trees.set(name, { tree, counts: { branchPages: 0, leafPages: 0, overflowPages: 0, entries: 0 } })
    if (tree.root === undefined) return
    if (tree.depth < 1 || tree.depth > deepest) throw new Damage(tree.root, `the ${name} tree has depth ${tree.depth}`)
    this.#queue({ tree: name, page: tree.root, level: tree.depth, low: undefined, high: undefined })
  }

  #queue(visit: Visit): void {
    this.#use(visit.page, 1)
    if (this.#visits.length < this.#left) this.#visits.push(visit)
    else this.#complete = false
  }

  #visit(visit: Visit): void {
    const leaf = visit.level === 1
    const nodes = readNodes(this.#options.read(visit.page, 1), {
      page: visit.page,
      leaf,
      transaction: this.#options.meta.transaction,
      low: visit.low,
      high: visit.high,
      compare: visit.tree === freeTree ? compareNumbers : Buffer.compare,
    })
    const { counts } = this.#trees.get(visit.tree) as { counts: Counts }
    if (leaf) {
      counts.leafPages++
      counts.entries += nodes.length
      for (const node of nodes) this.#attempt(() => this.#checkEntry(visit, node, counts))
      return
    }
    counts.branchPages++
    nodes.forEach((node, i) => {
      const low = i === 0 ? visit.low : node.key
      const high = nodes[i + 1]?.key ?? visit.high
      this.#attempt(() => this.#queue({ tree: visit.tree, page: node.child, level: visit.level - 1, low, high }))
    })
  }

  #checkEntry({ tree, page }: Visit, node: Node, counts: Counts): void {
    if (tree === freeTree && node.key.byteLength !== 8)
      throw new Damage(page, 'an entry of the free list has a wrong key')
    const isTree = (node.flags & nodeFlags.tree) !== 0
    if (isTree !== (tree === mainTree)) throw new Damage(page, `an entry of ${tree} has the flags ${node.flags}`)
    if (isTree) return this.#enterTable(page, node)
    if ((node.flags & nodeFlags.overflow) === 0) {
      if (tree === freeTree) this.#checkFreeList(page, node.data.subarray(0, node.dataBytes))
      return
    }
    const reference = readOverflowReference(node.data, 0)
    const pages = overflowPagesOf(node.dataBytes, this.#options.meta.pageSize)
    if (reference.pages !== pages)
      throw new Damage(page, `a value of ${node.dataBytes} bytes has ${reference.pages} pages`)
    this.#use(reference.page, pages)
    counts.overflowPages += pages
    if (this.#whole) this.#checkOverflow(reference.page, pages)
    else if (this.#overflows.length < this.#left) this.#overflows.push({ page: reference.page, pages })
    if (tree === freeTree && (this.#whole || pages < this.#left)) {
      this.#left -= pages
      const value = this.#options.read(reference.page, pages)
      this.#checkFreeList(page, value.subarray(24, 24 + node.dataBytes))
    }
  }

  #enterTable(page: number, node: Node): void {
    const name = tableName(node.key)
    const tree = readTree(node.data, 0)
    const flags = tableFlags.get(name)
    // Another program's file is told by its missing format record, not by tables that we can't read.
    if (flags === undefined) return
    if (tree.flags !== flags || tree.pad !== 0) throw new Damage(page, `the table ${name} has the flags ${tree.flags}`)
    this.#enter(name, tree)
  }

  #checkOverflow(page: number, pages: number): void {
    const header = readHeader(this.#options.read(page, 1))
    if (header.number !== page) throw new Damage(page, `its number is ${header.number}`)
    if (header.flags !== pageFlags.overflow)
      throw new Damage(page, `it has flags ${header.flags}, and is part of a value`)
    if (header.pages !== pages) throw new Damage(page, `it counts ${header.pages} pages instead of ${pages}`)
    if (header.transaction > this.#options.meta.transaction) throw new Damage(page, 'it is not committed')
  }

  /** A count, then page numbers; a negative number says how many pages start at the next one, a zero says nothing. */
  #checkFreeList(page: number, list: Buffer): void {
    const count = list.byteLength < 8 ? -1 : readLong(list, 0)
    if (count < 0 || (count + 1) * 8 > list.byteLength) throw new Damage(page, `a free list has ${count} entries`)
    for (let i = 1; i <= count; i++) {
      let pages = 1
      let entry = Number(list.readBigInt64LE(i * 8))
      if (entry === 0) continue
      if (entry < 0) {
        if (++i > count) return
        pages = -entry
        entry = Number(list.readBigInt64LE(i * 8))
      }
      const { lastPage } = this.#options.meta
      if (entry < 2 || entry + pages - 1 > lastPage)
        throw new Damage(page, `a free list has page ${entry} of ${lastPage}`)
      for (let free = entry; free < entry + pages; free++) this.#mark(free)
      this.#freeBeyondFile += Math.max(0, entry + pages - Math.max(entry, this.#options.filePages))
    }
  }

  /** Pages that are read must be in the file; free ones need not. */
  #use(first: number, count: number): void {
    const { meta, filePages } = this.#options
    const end = first + count
    if (first < 2 || end > meta.lastPage + 1)
      throw new Damage(first, `it is referred to, but the last one is ${meta.lastPage}`)
    if (end > filePages) throw new Damage(first, `it is referred to, but the file ends at page ${filePages}`)
    for (let page = first; page < end; page++) this.#mark(page)
  }

  #mark(page: number): void {
    const bit = 1 << (page & 7)
    const byte = this.#used[page >> 3] as number
    if ((byte & bit) !== 0) throw new Damage(page, 'it is used twice')
    this.#used[page >> 3] = byte | bit
  }

  #checkCounts(name: string): void {
    const { tree, counts } = this.#trees.get(name) as { tree: Tree; counts: Counts }
    for (const kind of ['branchPages', 'leafPages', 'overflowPages', 'entries'] as const) {
      if (tree[kind] !== counts[kind]) {
        throw new Damage(tree.root ?? 0, `the ${name} tree says ${tree[kind]} ${kind}, and has ${counts[kind]}`)
      }
    }
  }

  #attempt(step: () => void): void {
    try {
      step()
    } catch (error) {
      if (!(error instanceof Damage)) throw error
      this.#options.report(error)
    }
  }
}

/** lmdb stores names with the zero byte that ends them. */
function tableName(key: Buffer): string {
  return key.toString().replace(/\0$/, '')
}

/** Keys of the free list are transaction numbers. */
function compareNumbers(a: Buffer, b: Buffer): number {
  if (a.byteLength !== 8 || b.byteLength !== 8) return NaN
  return readLong(a, 0) - readLong(b, 0)
}
