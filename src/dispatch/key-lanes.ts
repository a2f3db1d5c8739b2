import type { RecordBatch } from '../contracts/broker.ts'
import type { Letter } from './letter.ts'
import { OffsetQueue } from './offset-queue.ts'

/** Why a lane hands nothing out, as bits. */
export const blockedBy = { retry: 1, parked: 2, pausedKey: 4, pausedPartition: 8, loading: 16, moving: 32 } as const

/** A batch that messages in memory point into. */
export interface BatchSource {
  /** Number of the partition intake that read it. */
  readonly intake: number
  readonly batch: RecordBatch
  /** Waiting messages that point into the batch; its memory counts while there are any. */
  pins: number
}

/** A message that was handed out and has to be handed out again. */
export interface RetryEntry {
  /** Number of its partition intake. */
  readonly intake: number
  readonly offset: number
  /** Of the message; a lane's own key differs where keys don't order. */
  readonly key: string | undefined
  /** The number that the next attempt has. */
  readonly attempt: number
  /** Set when there is none: it goes to the dead letters as soon as it can. */
  readonly letter?: Letter | undefined
}

/** The queue of one key. At most one of its messages runs at a time, in offset order. */
export class Lane {
  key: string | undefined
  /** The map that finds the lane by its key; undefined for a message without a key. */
  map: Map<string, Lane> | undefined
  /** A message of the lane is being handled. */
  isBusy = false
  /** Bits of {@link blockedBy}; nothing starts while any is set. */
  blocked = 0
  /** The batch that is being gathered and holds messages of this lane, if any. */
  gathering: object | undefined
  /** Comes before everything else in the lane. */
  retry: RetryEntry | undefined
  /** Messages in memory, as places in the slots. Invariant: all of them come before those in `deferred`. */
  head = -1
  tail = -1
  count = 0
  /** Messages of which only the offset is kept. */
  deferred: OffsetQueue | undefined
  isQueued = false
  nextReady: Lane | undefined

  get isEmpty(): boolean {
    return this.count === 0 && this.retry === undefined && (this.deferred === undefined || this.deferred.size === 0)
  }
}

export interface LaneLimits {
  readonly maxBufferedMessages: number
  readonly maxBufferedBytes: number
  readonly maxDeferredMessages: number
}

/** Lanes that went out of use and wait to be used again. */
const spareLanes = 1024

/**
 * All lanes of a subscription: which message may start now. Pure: no time, no I/O, no handler.
 *
 * Memory is bounded three ways: messages held (slots), bytes of the batches they point into, and offsets of deferred ones.
 * Beyond its share a lane keeps offsets only and its messages are read again when their turn comes, so a hot or a stuck key
 * does not use up the room of the others. Ready lanes are served in turn.
 */
export class KeyLanes {
  readonly #limits: LaneLimits
  /** Messages that one lane may hold in memory. */
  readonly #share: number
  #firstReady: Lane | undefined
  #lastReady: Lane | undefined
  /** One entry a message in memory: where it is, and the next one of its lane (or the next free slot). */
  readonly #sources: (BatchSource | undefined)[] = []
  readonly #indexes: number[] = []
  readonly #next: number[] = []
  #freeSlot = -1
  #used = 0
  #pinnedBytes = 0
  #deferred = 0
  readonly #spare: Lane[] = []
  /** Lanes in use: keys with a message that runs, waits, or is parked. */
  #inUse = 0
  readonly #onIdle: (lane: Lane) => void

  /** `onIdle` is told when a lane has nothing left and goes out of use. */
  constructor(limits: LaneLimits, onIdle: (lane: Lane) => void) {
    this.#limits = limits
    this.#share = Math.max(1, Math.min(128, limits.maxBufferedMessages >> 4))
    this.#onIdle = onIdle
  }

  get inUse(): number {
    return this.#inUse
  }

  get buffered(): number {
    return this.#used
  }

  get bufferedBytes(): number {
    return this.#pinnedBytes
  }

  get deferred(): number {
    return this.#deferred
  }

  /** Whether one more message can be taken in, in memory or as an offset. */
  get hasRoom(): boolean {
    return this.#deferred < this.#limits.maxDeferredMessages || this.#hasSlot
  }

  /** Whether one more message can wait in this lane. */
  hasRoomIn(lane: Lane): boolean {
    return this.#deferred < this.#limits.maxDeferredMessages || this.#canHold(lane)
  }

  get hasReady(): boolean {
    return this.#firstReady !== undefined
  }

  get #hasSlot(): boolean {
    return this.#used < this.#limits.maxBufferedMessages && this.#pinnedBytes < this.#limits.maxBufferedBytes
  }

  open(key: string | undefined, map: Map<string, Lane> | undefined): Lane {
    const lane = this.#spare.pop() ?? new Lane()
    this.#inUse++
    lane.key = key
    lane.map = key === undefined ? undefined : map
    if (key !== undefined) map!.set(key, lane)
    return lane
  }

  /** Queues a message behind the others of its lane. */
  add(lane: Lane, source: BatchSource, index: number): void {
    if (this.#canHold(lane)) this.#hold(lane, source, index)
    else this.#defer(lane, source.intake, source.batch.offsetAt(index))
    this.refresh(lane)
  }

  /** Whether the next message of the lane may be kept in memory, behind nothing of which only the offset is kept. */
  #canHold(lane: Lane): boolean {
    return lane.deferred === undefined && lane.blocked === 0 && lane.count < this.#share && this.#hasSlot
  }

  /** Puts a lane into the queue of ready ones if it may start something, or out of use if it has nothing left. */
  refresh(lane: Lane): void {
    if (lane.isBusy || lane.isQueued) return
    if (lane.isEmpty) return this.#close(lane)
    if (lane.blocked !== 0) return
    lane.isQueued = true
    if (this.#lastReady) this.#lastReady.nextReady = lane
    else this.#firstReady = lane
    this.#lastReady = lane
  }

  /** The lane whose turn it is. */
  takeReady(): Lane | undefined {
    for (;;) {
      const lane = this.#firstReady
      if (lane === undefined) return undefined
      this.#firstReady = lane.nextReady
      if (this.#firstReady === undefined) this.#lastReady = undefined
      lane.nextReady = undefined
      lane.isQueued = false
      // It may have been blocked or emptied since it became ready.
      if (lane.blocked === 0 && !lane.isBusy && !lane.isEmpty) return lane
      this.refresh(lane)
    }
  }

  /** The first message in memory of a lane; only while `lane.count` is above zero. */
  front(lane: Lane): { source: BatchSource; index: number } {
    return { source: this.#sources[lane.head]!, index: this.#indexes[lane.head]! }
  }

  /** Takes the first message in memory away. */
  shift(lane: Lane): void {
    const slot = lane.head
    this.#unpin(this.#sources[slot]!)
    lane.head = this.#next[slot]!
    if (--lane.count === 0) lane.tail = -1
    this.#sources[slot] = undefined
    this.#next[slot] = this.#freeSlot
    this.#freeSlot = slot
    this.#used--
  }

  /** Takes the first deferred offset away. */
  shiftDeferred(lane: Lane): void {
    lane.deferred!.shift()
    this.#deferred--
    if (lane.deferred!.size === 0) lane.deferred = undefined
  }

  /** After one deferred message was loaded: holds the next ones of the lane that lie in the same batch. */
  holdLoaded(lane: Lane, source: BatchSource, remembered: ReadonlyMap<number, unknown>): void {
    const { batch, intake } = source
    while (lane.deferred !== undefined && lane.count < this.#share >> 1 && this.#hasSlot) {
      const { offset } = lane.deferred
      if (lane.deferred.source !== intake || offset < batch.baseOffset || offset >= batch.nextOffset) return
      // What failed before has to be met as such.
      if (remembered.size > 0 && remembered.has(offset)) return
      this.#hold(lane, source, indexOf(batch, offset))
      this.shiftDeferred(lane)
    }
  }

  /** Keeps only offsets of what the lane holds, so that waiting takes no memory from the others. */
  deferAll(lane: Lane): void {
    const entries = []
    while (lane.count > 0) {
      const { source, index } = this.front(lane)
      entries.push({ source: source.intake, offset: source.batch.offsetAt(index) })
      this.shift(lane)
    }
    this.putBack(lane, entries)
  }

  /** Puts messages that were taken out before everything that the lane holds as offsets. */
  putBack(lane: Lane, entries: readonly { source: number; offset: number }[]): void {
    if (entries.length === 0) return
    lane.deferred ??= new OffsetQueue()
    lane.deferred.prepend(entries)
    this.#deferred += entries.length
  }

  /** Puts a message of which only the offset is known behind everything in the lane. */
  putBehind(lane: Lane, source: number, offset: number): void {
    this.#defer(lane, source, offset)
  }

  /** Drops everything that a partition has in a lane; its position says what to read again. */
  purge(lane: Lane, intake: number): void {
    this.deferAll(lane)
    if (lane.retry?.intake === intake) {
      lane.retry = undefined
      lane.blocked &= ~(blockedBy.retry | blockedBy.parked | blockedBy.moving)
    }
    if (lane.deferred) {
      this.#deferred -= lane.deferred.dropSource(intake)
      if (lane.deferred.size === 0) lane.deferred = undefined
    }
    lane.blocked &= ~blockedBy.pausedPartition
    this.refresh(lane)
  }

  #hold(lane: Lane, source: BatchSource, index: number): void {
    let slot = this.#freeSlot
    if (slot >= 0) this.#freeSlot = this.#next[slot]!
    else slot = this.#sources.length
    this.#sources[slot] = source
    this.#indexes[slot] = index
    this.#next[slot] = -1
    if (lane.count++ === 0) lane.head = slot
    else this.#next[lane.tail] = slot
    lane.tail = slot
    this.#used++
    if (source.pins++ === 0) this.#pinnedBytes += source.batch.bytes
  }

  #unpin(source: BatchSource): void {
    if (--source.pins === 0) this.#pinnedBytes -= source.batch.bytes
  }

  #defer(lane: Lane, source: number, offset: number): void {
    lane.deferred ??= new OffsetQueue()
    lane.deferred.push(source, offset)
    this.#deferred++
  }

  #close(lane: Lane): void {
    // A paused key keeps its lane, so that its next message finds it blocked.
    if (lane.blocked !== 0) return
    if (lane.map !== undefined && lane.map.get(lane.key!) === lane) lane.map.delete(lane.key!)
    this.#inUse--
    this.#onIdle(lane)
    lane.key = undefined
    lane.map = undefined
    lane.gathering = undefined
    if (this.#spare.length < spareLanes) this.#spare.push(lane)
  }
}

/** Where an offset stands in a batch; offsets within a batch may have gaps. */
export function indexOf(batch: { readonly count: number; offsetAt(index: number): number }, offset: number): number {
  let low = Math.max(0, Math.min(batch.count - 1, offset - batch.offsetAt(0)))
  while (low > 0 && batch.offsetAt(low) > offset) low--
  return low
}
