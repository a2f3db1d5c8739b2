import { QueueError } from '../errors.ts'
import { DataFile, ForeignFile } from './data-file.ts'
import { checkFormat, formatKey } from './format-record.ts'
import { unwritable } from './fs-errors.ts'
import type { Meta } from './lmdb-format.ts'
import { Damage } from './page-check.ts'
import { TreeCheck } from './tree-check.ts'

/** Pages of trees that are read before every open: all branches of a large store, all of a small one. */
const budget = 1_000

/**
 * Looks at a data file before native code does, which a damaged one makes crash the process.
 *
 * It checks both meta pages, the trees from their roots down as far as a bounded number of pages goes, that all they
 * refer to is in the file, and the format record. Values carry their own checksums; `verify()` checks the rest.
 *
 * @throws `STORE_CORRUPT`, `NOT_A_STORE`, `STORE_VERSION`, `STORE_OPTIONS`
 */
export function preflight(file: string): void {
  let data: DataFile | undefined
  try {
    data = new DataFile(file)
    const meta = data.currentMeta()
    checkTrees(data, meta)
    checkFormat(data.find(meta, 'meta', Buffer.from(formatKey)), file)
  } catch (error) {
    throw typed(error, file)
  } finally {
    data?.close()
  }
}

function checkTrees(data: DataFile, meta: Meta): void {
  const options = {
    meta,
    read: data.reader(meta.pageSize),
    filePages: Math.floor(data.bytes / meta.pageSize),
    report: (damage: Damage): never => {
      throw damage
    },
  }
  const missing = meta.lastPage + 1 - options.filePages
  if (missing > 0) {
    const check = new TreeCheck({ ...options, budget: Infinity })
    exhaust(check.run('free list'))
    if (check.freeBeyondFile !== missing) throw new Damage(meta.lastPage, `the file ends at page ${options.filePages}`)
  }
  exhaust(new TreeCheck({ ...options, budget }).run())
}

function exhaust(steps: Generator<void>): void {
  while (steps.next().done !== true);
}

function typed(error: unknown, file: string): QueueError {
  const facts = { path: file, cause: error }
  if (error instanceof ForeignFile) {
    return new QueueError('NOT_A_STORE', `${file} is not a store: ${error.message}; use another directory`, facts)
  }
  if (error instanceof Damage) {
    const advice = 'restore a backup; nothing in the directory was changed'
    return new QueueError('STORE_CORRUPT', `${file} is damaged: ${error.message}; ${advice}`, facts)
  }
  return unwritable(error, file, 'read the store')
}
