import { countFinished } from './supervisor.js'

/**
 * Follows what one group did, message by message, and counts what must not happen. It knows of every message which airport
 * it belongs to (from the truth), and of every restart what the group had stored as finished.
 */
export class Handlings {
  /** Messages that were handled, each counted once. */
  handled = 0
  /** Work that was done once more for a message, in whatever life. */
  doneAgain = 0
  /** Entries that break the order of an airport, hand a message out twice in one life, or name one that does not exist. */
  outOfOrder = 0
  /** Messages that were stored as finished although nobody had done their work: after a loss nobody would notice. */
  unearned = 0
  /** Messages that were handed out again although they were stored as finished. */
  unneeded = 0
  /** Messages that were reported as stored and finished before a kill, and were not so after it. */
  forgotten = 0
  /** For each kill: messages that had been handed out and were not stored as finished. */
  running = []
  /** For each kill: how many of them were handed out again in the life after it. */
  repeated = []

  #truth
  #run = 0
  /** Per partition and offset: the last life in which the message was handed out, and whether its work was done. */
  #handedIn
  #done
  #handed = 0
  /** For each life, per partition: what the store said was finished when it began. */
  #restored
  /** The same as of the last report of each life. */
  #reported
  /** Per airport: the message that runs now, the last one handed out in this life, the last one done for the first time. */
  #running
  #lastHanded
  #lastDone

  /**
   * @param {import('./truth.js').Truth} truth
   * @param {{ position: number, finishedAbove: number }[][]} restored
   * @param {{ position: number, finishedAbove: number }[][]} reported
   */
  constructor(truth, restored, reported) {
    this.#truth = truth
    this.#restored = restored
    this.#reported = reported
    this.#handedIn = truth.sizes.map((size) => new Uint8Array(size))
    this.#done = truth.sizes.map((size) => new Uint8Array(size))
    const none = () => new Int32Array(truth.airports).fill(-1)
    this.#running = none()
    this.#lastHanded = none()
    this.#lastDone = none()
  }

  get lost() {
    return this.#truth.flights - this.handled
  }

  /** The worker was started, or started again after a kill. */
  beginLife() {
    this.#run++
    this.#running.fill(-1)
    this.#lastHanded.fill(-1)
    if (this.#run === 1) return
    const restored = this.#restored[this.#run - 1]
    const finished = countFinished(restored)
    const reported = countFinished(this.#reported[this.#run - 2])
    this.forgotten += Math.max(0, reported - finished)
    this.running.push(this.#handed - finished)
    this.repeated.push(0)
    this.unearned += Math.max(finished - this.handled, this.#countUndoneBelow(restored))
  }

  /** A handler got the message. */
  started(partition, offset) {
    if (!this.#exists(partition, offset)) return
    this.#hand(partition, offset)
    this.#running[this.#truth.airportAt(partition, offset)] = offset
  }

  /** The message's work is done. Returns whether that is so for the first time. */
  done(partition, offset) {
    if (!this.#exists(partition, offset)) return false
    const airport = this.#truth.airportAt(partition, offset)
    if (this.#running[airport] === offset) this.#running[airport] = -1
    else this.#hand(partition, offset)

    if (this.#done[partition][offset] === 1) {
      this.doneAgain++
      return false
    }
    this.#done[partition][offset] = 1
    this.handled++
    if (offset < this.#lastDone[airport]) this.outOfOrder++
    else this.#lastDone[airport] = offset
    return true
  }

  #hand(partition, offset) {
    const airport = this.#truth.airportAt(partition, offset)
    const handedIn = this.#handedIn[partition]
    if (handedIn[offset] === 0) {
      this.#handed++
    } else if (handedIn[offset] < this.#run) {
      this.repeated[this.#run - 2]++
      if (offset < this.#restored[this.#run - 1][partition].position) this.unneeded++
    }
    handedIn[offset] = this.#run

    const isAlone = this.#running[airport] === -1
    if (!isAlone || offset <= this.#lastHanded[airport]) this.outOfOrder++
    this.#lastHanded[airport] = offset
  }

  #exists(partition, offset) {
    const exists = offset >= 0 && offset < (this.#done[partition]?.length ?? 0)
    if (!exists) this.outOfOrder++
    return exists
  }

  #countUndoneBelow(restored) {
    let undone = 0
    restored.forEach(({ position }, partition) => {
      for (let offset = 0; offset < position; offset++) if (this.#done[partition][offset] !== 1) undone++
    })
    return undone
  }
}
