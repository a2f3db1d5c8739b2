import type { Runtime, Timer } from '../runtime/runtime.ts'
import type { HandedMessage } from './handed-message.ts'
import type { Lane } from './key-lanes.ts'
import type { PartitionIntake } from './partition-intake.ts'

export interface BatchSettings {
  readonly max: number
  readonly maxWaitMs: number
}

/** Messages that were gathered for one handler call, with the partition and lane of each. */
export interface Gathered {
  messages: HandedMessage[]
  intakes: PartitionIntake[]
  lanes: Lane[]
}

/** One message of a {@link Gathered}. */
export interface GatheredEntry {
  readonly message: HandedMessage
  readonly intake: PartitionIntake
  readonly lane: Lane
}

/** Gathers messages into arrays: until one is full, or its first message has waited long enough. */
export class BatchGatherer {
  readonly #settings: BatchSettings
  readonly #runtime: Runtime
  readonly #onDue: () => void
  #gathered: Gathered = { messages: [], intakes: [], lanes: [] }
  #timer: Timer | undefined
  #hasWaited = false

  /** `onDue` is called when what was gathered has waited long enough. */
  constructor(settings: BatchSettings, runtime: Runtime, onDue: () => void) {
    this.#settings = settings
    this.#runtime = runtime
    this.#onDue = onDue
  }

  /** Stands for the array being gathered; another one after each {@link BatchGatherer.take}. */
  get current(): object {
    return this.#gathered
  }

  get size(): number {
    return this.#gathered.messages.length
  }

  get isFull(): boolean {
    return this.size >= this.#settings.max
  }

  /** Whether what was gathered should go now, full or not. */
  get isDue(): boolean {
    return this.size > 0 && (this.isFull || this.#settings.maxWaitMs === 0 || this.#hasWaited)
  }

  add(lane: Lane, intake: PartitionIntake, message: HandedMessage): void {
    const { messages, intakes, lanes } = this.#gathered
    messages.push(message)
    intakes.push(intake)
    lanes.push(lane)
    if (messages.length > 1 || this.#settings.maxWaitMs === 0) return
    this.#timer = this.#runtime.timer(this.#settings.maxWaitMs, 'batch', () => {
      this.#hasWaited = true
      this.#onDue()
    })
  }

  take(): Gathered {
    const gathered = this.#gathered
    this.#gathered = { messages: [], intakes: [], lanes: [] }
    this.stop()
    return gathered
  }

  /** Takes messages out again; returns them in their order. */
  remove(matches: (intake: PartitionIntake, key: string | undefined) => boolean): GatheredEntry[] {
    const { messages, intakes, lanes } = this.#gathered
    const entries = messages.map((message, i) => ({ message, intake: intakes[i]!, lane: lanes[i]! }))
    const removed = entries.filter(({ intake, message }) => matches(intake, message.key))
    if (removed.length === 0) return removed
    const gone = new Set(removed)
    // Lanes know this array by identity, so it is changed in place.
    messages.length = intakes.length = lanes.length = 0
    for (const entry of entries) {
      if (gone.has(entry)) continue
      messages.push(entry.message)
      intakes.push(entry.intake)
      lanes.push(entry.lane)
    }
    if (messages.length === 0) this.stop()
    return removed
  }

  holds(lane: Lane): boolean {
    return this.#gathered.lanes.includes(lane)
  }

  stop(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#hasWaited = false
  }
}
