import fs from 'node:fs'
import path from 'node:path'
import { QueueError } from '../errors.ts'
import { unwritable } from './fs-errors.ts'
import { type Lmdb, openEnvironment } from './lmdb-environment.ts'
import { encodeFormat, formatKey } from './format-record.ts'

export const dataFile = 'data.mdb'
export const lockFile = 'lock.mdb'

/** What may lie beside the data file: ours, LMDB's, and what file managers and file systems leave. */
const knownNames =
  /^(data\.mdb|lock\.mdb|owner\.\d+(\.pid)?|claim-.*|work-.*|lost\+found|\.DS_Store|desktop\.ini|Thumbs\.db)$/

/**
 * Makes `directory` if it is absent, and refuses it if someone else's files are in it.
 *
 * @throws `STORE_UNWRITABLE`, `NOT_A_STORE`
 */
export function prepareDirectory(directory: string): void {
  try {
    if (makeDirectory(directory)) return
    fs.accessSync(directory, fs.constants.R_OK | fs.constants.W_OK | fs.constants.X_OK)
  } catch (error) {
    throw unwritable(error, directory, 'open a store')
  }
  const names = fs.readdirSync(directory)
  for (const name of [dataFile, lockFile]) if (names.includes(name)) refuseUnusable(path.join(directory, name))
  if (names.includes(dataFile)) return
  const foreign = names.filter((name) => !knownNames.test(name))
  if (foreign.length > 0) {
    const some = foreign.slice(0, 3).join(', ')
    throw new QueueError(
      'NOT_A_STORE',
      `${directory} holds no store but other files (${some}): use an empty directory`,
      {
        path: directory,
      },
    )
  }
  if (names.includes(lockFile)) {
    throw new QueueError(
      'STORE_CORRUPT',
      `${directory} had a store, but its ${dataFile} is gone: restore it, or remove ${lockFile} to start anew`,
      { path: directory },
    )
  }
}

/** Native code ends the process when it can't open a file. */
function refuseUnusable(file: string): void {
  try {
    fs.accessSync(file, fs.constants.R_OK | fs.constants.W_OK)
  } catch (error) {
    throw unwritable(error, file, 'open a store')
  }
  if (fs.statSync(file).isFile()) return
  throw new QueueError('NOT_A_STORE', `${file} is not a file: use another directory`, { path: file })
}

/** Whether it had to be made. Its name is synced, or a power loss could take the whole store. */
function makeDirectory(directory: string): boolean {
  const stat = fs.statSync(directory, { throwIfNoEntry: false })
  if (stat?.isDirectory() === true) return false
  fs.mkdirSync(directory)
  syncDirectory(path.dirname(directory))
  return true
}

/**
 * Makes the data file where no crash can leave a half of it: elsewhere, synced, then renamed into place.
 *
 * The record is written twice so that both meta pages of the file hold a whole tree.
 */
export function createDataFile(lmdb: Lmdb, directory: string, created: number): void {
  const work = makeWorkDirectory(directory)
  try {
    const record = encodeFormat(created)
    const { root, tables } = openEnvironment(lmdb, work, ({ tables }) => tables.meta.putSync(formatKey, record))
    tables.meta.putSync(formatKey, record)
    void root.close()
    installDataFile(path.join(work, dataFile), directory)
  } catch (error) {
    throw unwritable(error, directory, 'create a store')
  } finally {
    fs.rmSync(work, { recursive: true, force: true })
  }
}

/** Syncs a finished data file and moves it into place. */
export function installDataFile(file: string, directory: string): void {
  syncFile(file)
  syncDirectory(path.dirname(file))
  fs.renameSync(file, path.join(directory, dataFile))
  syncDirectory(directory)
}

/** A place inside the store's directory, on the same file system, for files that are not finished. */
export function makeWorkDirectory(directory: string): string {
  return fs.mkdtempSync(path.join(directory, 'work-'))
}

/** Removes unfinished files of an owner that died. Only the owner may call it. */
export function removeWork(directory: string): void {
  for (const name of fs.readdirSync(directory)) {
    if (name.startsWith('work-')) fs.rmSync(path.join(directory, name), { recursive: true, force: true })
  }
}

export function syncFile(file: string): void {
  const fd = fs.openSync(file, 'r+')
  try {
    fs.fsyncSync(fd)
  } finally {
    fs.closeSync(fd)
  }
}

/** Makes names in a directory survive power loss; where directories can't be synced (Windows) the system does it. */
export function syncDirectory(directory: string): void {
  let fd: number | undefined
  try {
    fd = fs.openSync(directory, 'r')
    fs.fsyncSync(fd)
  } catch (error) {
    if (!unsyncable.has((error as NodeJS.ErrnoException).code ?? '')) throw error
  } finally {
    if (fd !== undefined) fs.closeSync(fd)
  }
}

const unsyncable: ReadonlySet<string> = new Set(['EPERM', 'EISDIR', 'EINVAL'])
