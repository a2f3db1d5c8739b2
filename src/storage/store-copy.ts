import fs from 'node:fs'
import path from 'node:path'
import { QueueError } from '../errors.ts'
import { unwritable } from './fs-errors.ts'
import type { Environment } from './lmdb-environment.ts'
import { dataFile, makeWorkDirectory, syncDirectory, syncFile } from './store-directory.ts'

type Root = Environment['root']

/**
 * Copies a live store into `target`, a directory that is absent or empty; it appears there whole or not at all.
 *
 * @throws `INVALID_OPTION` when `target` holds something; `STORE_FULL`, `STORE_UNWRITABLE`
 */
export async function copyStore(root: Root, target: string): Promise<void> {
  let partial: string | undefined
  try {
    refuseOccupied(target)
    partial = fs.mkdtempSync(`${target}.partial-`)
    await root.backup(partial, false)
    syncFile(path.join(partial, dataFile))
    syncDirectory(partial)
    fs.rmSync(target, { recursive: true, force: true })
    fs.renameSync(partial, target)
    syncDirectory(path.dirname(target))
  } catch (error) {
    if (partial !== undefined) fs.rmSync(partial, { recursive: true, force: true })
    throw unwritable(error, target, 'write a backup')
  }
}

function refuseOccupied(target: string): void {
  if (!fs.existsSync(target) || fs.readdirSync(target).length === 0) return
  throw new QueueError('INVALID_OPTION', `a backup goes to a directory that is absent or empty, ${target} is neither`, {
    option: 'path',
    value: target,
    allowed: 'a directory that is absent or empty',
    path: target,
  })
}

/**
 * Replaces the data file by a copy without free space. No commit may be under way.
 *
 * `swap` puts the copy in place of the file that `root` reads.
 */
export async function compactStore(
  root: Root,
  directory: string,
  swap: (file: string) => void,
): Promise<{ before: number; after: number }> {
  const file = path.join(directory, dataFile)
  const before = fs.statSync(file).size
  const work = makeWorkDirectory(directory)
  try {
    await root.backup(work, true)
    swap(path.join(work, dataFile))
    await root.close()
    return { before, after: fs.statSync(file).size }
  } catch (error) {
    throw unwritable(error, directory, 'compact the store')
  } finally {
    fs.rmSync(work, { recursive: true, force: true })
  }
}
