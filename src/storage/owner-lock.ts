import { connect, createServer, type Server } from 'node:net'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { createHash } from 'node:crypto'
import { QueueError } from '../errors.ts'
import { unwritable } from './fs-errors.ts'

/** How many dead generations stay in the directory; {@link claimNext} says why not none. */
const keptGenerations = 16
/** A claim that is this much older than ours was left by a process that died. */
const staleClaimMs = 60_000
/** `claim-XXXXXX/s` and `owner.<16 digits>` are the longest names behind a {@link Door}. */
const longestName = 24
/** 104 bytes with the final zero on macOS, 108 on Linux. */
const longestSocketPath = 103

/**
 * Exclusive ownership of a store directory, held until {@link OwnerLock.release} or the death of the process.
 *
 * Nothing may touch the data file without it. How it works and why: `docs/decisions/0002-one-owner.md`.
 */
export interface OwnerLock {
  /** Greater than that of every owner before; the store's epoch. */
  readonly generation: number
  /** Whether the directory still says so: not when someone removed its files, and a new owner could come. */
  isHeld(): boolean
  /** Goes on with a generation of at least `least` (for a store restored from a backup beside newer ids). */
  raise(least: number): void
  /** Lets the next owner in. Idempotent. */
  release(): Promise<void>
}

/**
 * Takes the ownership of `directory`, which must exist; a dead owner is replaced at once.
 *
 * @throws `STORE_LOCKED` while another process or thread, or this one, owns it.
 */
export async function takeOwnerLock(directory: string): Promise<OwnerLock> {
  return process.platform === 'win32' ? takeNamedPipe(directory) : takeSocket(directory)
}

async function takeSocket(directory: string): Promise<OwnerLock> {
  const door = openDoor(directory)
  let server: Server | undefined
  let claim: string | undefined
  try {
    claim = fs.mkdtempSync(path.join(directory, 'claim-'))
    const privateSocket = path.join(claim, 's')
    // Listening comes before the name: whoever sees the name must get through, or take its owner for dead.
    server = await listen(door.reach(`${path.basename(claim)}/s`))
    let generation = await claimNext(directory, door, privateSocket)
    noteOwner(directory, generation)
    removeStale(directory, generation, claim)
    const owned = server
    return {
      get generation() {
        return generation
      },
      isHeld: () => isHighest(directory, generation),
      raise: (least) => {
        if (least <= generation) return
        fs.linkSync(ownerFile(directory, generation), ownerFile(directory, least))
        generation = least
        noteOwner(directory, generation)
      },
      release: () => closeServer(owned).finally(() => door.close()),
    }
  } catch (error) {
    if (server !== undefined) await closeServer(server)
    door.close()
    throw unwritable(error, directory, 'take the owner lock')
  } finally {
    // The claimed name is a second link to the socket and keeps it reachable.
    if (claim !== undefined) fs.rmSync(claim, { recursive: true, force: true })
  }
}

/**
 * Links the private socket to the name of the next generation: exactly one of many racers can.
 *
 * A racer that was stopped between looking and linking may link a name that newer owners used and removed. They leave
 * the {@link keptGenerations} newest names in place, so the look after the link sees a higher one and the claim is
 * taken back.
 */
async function claimNext(directory: string, door: Door, privateSocket: string): Promise<number> {
  for (;;) {
    const highest = highestGeneration(directory)
    if (highest > 0 && (await isAlive(door.reach(`owner.${highest}`)))) throw locked(directory, highest)
    const claimed = ownerFile(directory, highest + 1)
    try {
      fs.linkSync(privateSocket, claimed)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') continue
      throw error
    }
    if (highestGeneration(directory) === highest + 1) return highest + 1
    fs.rmSync(claimed, { force: true })
  }
}

/** Connecting is the only proof of life: pids are reused, and differ between containers. */
function isAlive(socketPath: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect(socketPath)
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED' || error.code === 'ENOENT' || error.code === 'ENOTSOCK') resolve(false)
      // A full queue of connections: an owner that is stopped (SIGSTOP) or busy is still an owner.
      else if (error.code === 'EAGAIN' || error.code === 'EWOULDBLOCK') resolve(true)
      else reject(error)
    })
  })
}

function listen(socketPath: string): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer((visitor) => {
      visitor.on('error', () => {})
      visitor.destroy()
    })
    server.once('error', reject)
    server.listen({ path: socketPath }, () => resolve(server))
    server.unref()
  })
}

function highestGeneration(directory: string): number {
  return Math.max(0, ...generations(directory))
}

function isHighest(directory: string, generation: number): boolean {
  try {
    return highestGeneration(directory) === generation
  } catch {
    return false
  }
}

function generations(directory: string): number[] {
  return fs.readdirSync(directory).flatMap((name) => {
    const match = /^owner\.(\d+)$/.exec(name)
    return match === null ? [] : [Number(match[1])]
  })
}

function ownerFile(directory: string, generation: number): string {
  return path.join(directory, `owner.${generation}`)
}

/** For the words of an error only; never a proof of life. */
function noteOwner(directory: string, generation: number): void {
  fs.writeFileSync(`${ownerFile(directory, generation)}.pid`, String(process.pid))
}

function locked(directory: string, generation: number): QueueError {
  let pid: number | undefined
  try {
    pid = Number(fs.readFileSync(`${ownerFile(directory, generation)}.pid`, 'utf8')) || undefined
  } catch {
    // The owner has not written it yet.
  }
  const who = pid === undefined ? 'another process or thread' : pid === process.pid ? 'this process' : `process ${pid}`
  return new QueueError(
    'STORE_LOCKED',
    `the store at ${directory} is open in ${who}: a store has one owner; close it there first, or share that instance`,
    { path: directory, ...(pid === undefined ? {} : { pid }) },
  )
}

/** Names of owners long gone, and what claimants left that died within a claim. */
function removeStale(directory: string, generation: number, claim: string): void {
  for (const old of generations(directory)) {
    if (old > generation - keptGenerations) continue
    fs.rmSync(`${ownerFile(directory, old)}.pid`, { force: true })
    fs.rmSync(ownerFile(directory, old), { force: true })
  }
  // Claims take milliseconds. Both times come from the file system's clock, so ours does not matter.
  const youngest = fs.statSync(claim).mtimeMs - staleClaimMs
  for (const name of fs.readdirSync(directory)) {
    if (!name.startsWith('claim-')) continue
    const stat = fs.statSync(path.join(directory, name), { throwIfNoEntry: false })
    if (stat !== undefined && stat.mtimeMs < youngest)
      fs.rmSync(path.join(directory, name), { recursive: true, force: true })
  }
}

/** How sockets inside a directory are named within the 103 to 107 bytes that the system allows. */
interface Door {
  reach(name: string): string
  close(): void
}

function openDoor(directory: string): Door {
  if (Buffer.byteLength(directory) + longestName <= longestSocketPath) {
    return { reach: (name) => path.join(directory, name), close: () => {} }
  }
  if (process.platform === 'linux') {
    const fd = fs.openSync(directory, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY)
    return { reach: (name) => `/proc/self/fd/${fd}/${name}`, close: () => fs.closeSync(fd) }
  }
  const shortcut = fs.mkdtempSync(path.join(os.tmpdir(), 'lanemq-'))
  fs.symlinkSync(directory, path.join(shortcut, 'd'))
  return {
    reach: (name) => path.join(shortcut, 'd', name),
    close: () => fs.rmSync(shortcut, { recursive: true, force: true }),
  }
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    if (server.listening) server.close(() => resolve())
    else resolve()
  })
}

/** Windows: the pipe's name is the lock; it exists in one process at most and goes with it. */
async function takeNamedPipe(directory: string): Promise<OwnerLock> {
  const id = createHash('sha256').update(fs.realpathSync.native(directory).toLowerCase()).digest('hex').slice(0, 32)
  let server: Server
  try {
    server = await listen(`\\\\.\\pipe\\lanemq-${id}`)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE')
      throw unwritable(error, directory, 'take the owner lock')
    throw locked(directory, highestGeneration(directory))
  }
  let generation = 0
  const raise = (least: number): void => {
    if (least <= generation) return
    fs.writeFileSync(ownerFile(directory, least), '')
    generation = least
    noteOwner(directory, generation)
  }
  raise(highestGeneration(directory) + 1)
  return {
    get generation() {
      return generation
    },
    isHeld: () => isHighest(directory, generation),
    raise,
    release: () => closeServer(server),
  }
}
