import type { PartitionIntake } from './partition-intake.ts'

/** Messages that one partition may give before the next one has its turn. */
const messagesPerTurn = 64

/** Partitions that may have something to read, taking turns. */
export class IntakeRing {
  readonly #intakes: PartitionIntake[] = []
  #current = 0
  #taken = 0

  get size(): number {
    return this.#intakes.length
  }

  add(intake: PartitionIntake): void {
    if (intake.isReadable || intake.isEnded || intake.isPaused) return
    intake.isReadable = true
    this.#intakes.push(intake)
  }

  remove(intake: PartitionIntake): void {
    if (!intake.isReadable) return
    intake.isReadable = false
    const place = this.#intakes.indexOf(intake)
    this.#intakes.splice(place, 1)
    if (place < this.#current) this.#current--
    this.#taken = 0
  }

  /** The partition whose turn it is; call once for each message taken. */
  take(): PartitionIntake | undefined {
    if (this.#taken++ >= messagesPerTurn) {
      this.#taken = 1
      this.#current++
    }
    if (this.#current >= this.#intakes.length) this.#current = 0
    return this.#intakes[this.#current]
  }
}
