import { QueueError } from '../errors.ts'
import { SignalWatch } from './signal-watch.ts'

export interface SendLimits {
  readonly maxInFlightBytes: number
  readonly onFull: 'wait' | 'reject'
  readonly maxWaitingSends: number
  readonly minFreeBytes: number
  /** Bytes written between two looks at the free space of the disk. @defaultValue 4 MB */
  readonly bytesPerLook?: number
}

/** What the gate asks of the engine around it. */
export interface GateSource {
  /** Bytes accepted and not flushed yet. */
  inFlightBytes(): number
  diskFreeBytes(): number
  /** The disk guard closed (true) or opened (false). */
  fullChanged(full: boolean, freeBytes: number): void
}

interface WaitingSend {
  readonly bytes: number
  readonly start: () => void
  readonly reject: (error: Error) => void
}

const defaultBytesPerLook = 4_194_304

/**
 * Decides when a send may enter: bounds the bytes that wait for the disk and keeps a reserve of the disk free.
 *
 * Sends that wait enter in the order of their calls; acknowledgements, trims and deletes never pass here.
 */
export class SendGate {
  readonly #limits: SendLimits
  readonly #source: GateSource
  /** Sends that wait for room, oldest first. Invariant: while it holds any, a new send queues behind them. */
  #waiting: (WaitingSend | undefined)[] = []
  #first = 0
  #waitingCount = 0
  readonly #signals = new SignalWatch()
  #full = false
  #bytesSinceLook = Infinity
  readonly #bytesPerLook: number

  constructor(limits: SendLimits, source: GateSource) {
    this.#limits = limits
    this.#source = source
    this.#bytesPerLook = limits.bytesPerLook ?? defaultBytesPerLook
  }

  get waiting(): number {
    return this.#waitingCount
  }

  /** Counts bytes that are about to be written. @throws `STORE_FULL` while the disk has no room for new messages */
  assertAvailable(bytes: number): void {
    this.#bytesSinceLook += bytes
    if (this.#full || this.#bytesSinceLook > this.#bytesPerLook) this.#look()
    if (this.#full) throw storeFull(this.#limits.minFreeBytes)
  }

  /** Whether a send of `bytes` may go on at once. @throws `STORE_FULL`, `IN_FLIGHT_FULL` */
  enter(bytes: number): boolean {
    this.assertAvailable(bytes)
    if (this.#waitingCount === 0 && this.#hasRoom(bytes)) return true
    if (this.#limits.onFull === 'reject') {
      throw inFlightFull(`${this.#source.inFlightBytes()} bytes wait for the disk (maxInFlightBytes)`)
    }
    if (this.#waitingCount >= this.#limits.maxWaitingSends) {
      throw inFlightFull(`${this.#waitingCount} sends wait for room (maxWaitingSends): await them`)
    }
    return false
  }

  /** Queues a send behind the others; `start` runs when its turn comes. */
  wait<T>(bytes: number, signal: AbortSignal | undefined, start: () => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const onAbort = (): void => {
        this.#waiting[this.#waiting.indexOf(entry)] = undefined
        this.#waitingCount--
        reject(aborted(signal!))
      }
      const entry: WaitingSend = {
        bytes,
        reject: (error) => {
          if (signal) this.#signals.remove(signal, onAbort)
          reject(error)
        },
        start: () => {
          if (signal) this.#signals.remove(signal, onAbort)
          start().then(resolve, reject)
        },
      }
      if (signal) this.#signals.add(signal, onAbort)
      this.#waiting.push(entry)
      this.#waitingCount++
    })
  }

  /** Lets in who fits now; called after each commit. */
  admit(): void {
    if (this.#full) this.#look()
    while (this.#first < this.#waiting.length) {
      const entry = this.#waiting[this.#first]
      if (entry !== undefined) {
        if (!this.#hasRoom(entry.bytes)) break
        this.#waitingCount--
        entry.start()
      }
      this.#first++
    }
    if (this.#first === this.#waiting.length) this.#waiting = []
    else if (this.#first > 1024) this.#waiting = this.#waiting.slice(this.#first)
    else return
    this.#first = 0
  }

  /** Turns away everyone who waits. */
  shut(error: Error): void {
    const waiting = this.#waiting.slice(this.#first)
    this.#waiting = []
    this.#first = 0
    this.#waitingCount = 0
    for (const entry of waiting) entry?.reject(error)
  }

  /** A single send larger than the whole limit passes when nothing else is under way. */
  #hasRoom(bytes: number): boolean {
    const inFlight = this.#source.inFlightBytes()
    return inFlight === 0 || inFlight + bytes <= this.#limits.maxInFlightBytes
  }

  #look(): void {
    this.#bytesSinceLook = 0
    const diskFreeBytes = this.#source.diskFreeBytes()
    const full = diskFreeBytes < this.#limits.minFreeBytes
    if (full === this.#full) return
    this.#full = full
    // Nothing would wake those who wait: they are told, and may send again when there is space.
    if (full) this.shut(storeFull(this.#limits.minFreeBytes))
    this.#source.fullChanged(full, diskFreeBytes)
  }
}

export function aborted(signal: AbortSignal): QueueError {
  return new QueueError('ABORTED', 'the signal was aborted before the call took effect', { cause: signal.reason })
}

function storeFull(minFreeBytes: number): QueueError {
  return new QueueError(
    'STORE_FULL',
    `the disk has less than ${minFreeBytes} bytes free (minFreeBytes): free some, then send again`,
    {
      allowed: `at least ${minFreeBytes} bytes free`,
    },
  )
}

function inFlightFull(what: string): QueueError {
  return new QueueError('IN_FLIGHT_FULL', `${what}: send again later`)
}
