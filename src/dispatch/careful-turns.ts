import type { LifeEnds } from '../contracts/broker.ts'
import type { Runtime, Timer } from '../runtime/runtime.ts'
import type { Settler } from './settler.ts'

/** How long a message runs alone before the others go on beside it, in milliseconds; longer with each end in a row. */
const aloneMs = 5_000
/** Ends in a row that still double something: a message may be alone for some ten minutes at the most. */
const maxDoublings = 7
/** So long after it was over the process counts as one that does not end by its messages, in milliseconds. */
const calmMs = 60_000

/** For a process that begins on a store; undefined where nothing has to be careful. */
export function turnsAfter(ends: LifeEnds | undefined, runtime: Runtime): CarefulTurns | undefined {
  return ends !== undefined && ends.unclean > 0 ? new CarefulTurns(runtime, ends) : undefined
}

/** A subscription in the eyes of {@link CarefulTurns}. */
export interface CarefulMember {
  /** Nothing of it runs, and nothing was taken out to run. */
  readonly isQuiet: boolean
  /** It has messages left to be careful with, and may hand them out. */
  readonly isWary: boolean
  readonly settler: Settler
  /** Calls handlers with what was gathered for them. */
  push(): void
  /** Something may be started again. */
  wake(): void
  /** It has the turn, and nothing runs in the whole process. */
  begin(): void
  /** Its turn takes too long: what it is about goes on beside the others. */
  giveUp(): void
}

/**
 * After an end of the process that nobody expected: who may start a message. One of all subscriptions has the turn, waits
 * until nothing runs, marks its message and runs it alone. So when the process ends again, the mark says which it was.
 *
 * A turn that takes long is over before its message is, and the others go on beside it as if nothing had been, until
 * nothing runs for a moment. An end then tells nothing, so the next process takes it slower: see {@link LifeEnds}.
 */
export class CarefulTurns {
  /** How many times as much, and as long, as after a first end. */
  readonly factor: number
  readonly #runtime: Runtime
  readonly #ends: LifeEnds
  readonly #members = new Set<CarefulMember>()
  #turn: CarefulMember | undefined
  /** Who had the turn before. */
  #last: CarefulMember | undefined
  /**
   * Who may take the next turn: only the first, until it took it or had nothing to start. So a busy subscription can't keep
   * the others from their turns. Empty while there is a turn, and once all had nothing: then whoever comes first takes it.
   */
  #offers: CarefulMember[] = []
  #hasBegun = false
  /** What it decided may not be on disk, and its mark still be there. */
  #isOwed = false
  /** Something runs that took too long to be alone. */
  #isLoose = false
  /** It is on its way to the disk that messages run side by side. */
  #isLoosening = false
  /** It is there. */
  #isSideBySide = false
  #timer: Timer | undefined
  /** Set while it is waited for whether the process goes on. */
  #calm: Timer | undefined
  #isClosed = false

  constructor(runtime: Runtime, ends: LifeEnds) {
    this.#runtime = runtime
    this.#ends = ends
    this.factor = 2 ** Math.min(ends.unclean - 1, maxDoublings)
  }

  /** Whether a subscription may start nothing. */
  isHeld(member: CarefulMember): boolean {
    if (this.#turn !== undefined || this.#isLoosening) return true
    return this.#offers.length > 0 && this.#offers[0] !== member
  }

  /** Whether a message has to run alone now. */
  isCareful(isSuspect: boolean): boolean {
    // Handlers that return at once end without being heard of.
    if (this.#isLoose && !this.#isQuiet) return false
    this.#isLoose = false
    return isSuspect || this.#isOwed || this.#isAnyoneWary
  }

  get #isAnyoneWary(): boolean {
    for (const { isWary } of this.#members) if (isWary) return true
    return false
  }

  add(member: CarefulMember): void {
    this.#members.add(member)
  }

  /** Nothing of it runs, and nothing ever will. */
  remove(member: CarefulMember): void {
    this.#members.delete(member)
    this.passed(member)
    this.#offers = this.#offers.filter((other) => other !== member)
    this.look()
  }

  /** It has looked for something to start, and found nothing: if the turn was its to take, it is the next one's. */
  passed(member: CarefulMember): void {
    if (this.#offers[0] !== member) return
    this.#offers.shift()
    if (this.#offers.length > 0) this.#offers[0]!.wake()
    else this.#wakeAll()
  }

  /** Takes the turn; only while it is not held. {@link CarefulMember.begin} is called as soon as nothing runs. */
  take(member: CarefulMember): void {
    this.#turn = member
    this.#offers = []
    this.#hasBegun = false
    this.#timer = this.#runtime.timer(aloneMs * this.factor, 'careful turn', () => this.#overdue())
    for (const each of this.#members) each.push()
    this.look()
  }

  /** The queue is closed: nothing is waited for any more. */
  close(): void {
    this.#isClosed = true
    this.#timer?.cancel()
    this.#calm?.cancel()
  }

  has(member: CarefulMember): boolean {
    return this.#turn === member
  }

  /**
   * Who had the turn before has decided things that must not be on disk after what is decided now. Resolves when they
   * can't be.
   */
  async settleBefore(member: CarefulMember): Promise<void> {
    const last = this.#last?.settler
    if (last === undefined || last === member.settler) return
    last.settle()
    if (last.isBehind) await last.flush()
  }

  /** What had the turn is over. */
  end(member: CarefulMember): void {
    if (this.#turn !== member) return
    this.#endTurn()
    this.look()
    // Who is careful next goes to disk behind it.
    if (this.#turn === undefined && !this.#isLoosening) this.#offer()
  }

  /** Something ended, or was put off: whoever waits for that goes on. */
  look(): void {
    const turn = this.#turn
    if (this.#hasBegun && turn !== undefined) return
    if (!this.#isQuiet) return
    this.#isLoose = false
    if (turn !== undefined) {
      this.#hasBegun = true
      turn.begin()
    } else if (!this.#isLoosening && !this.#isAnyoneWary && (this.#isOwed || !this.#isSideBySide)) this.#loosen()
  }

  get #isQuiet(): boolean {
    for (const { isQuiet } of this.#members) if (!isQuiet) return false
    return true
  }

  #overdue(): void {
    const turn = this.#turn!
    this.#isLoose = true
    this.#endTurn()
    turn.giveUp()
    this.#loosen()
  }

  #endTurn(): void {
    this.#timer?.cancel()
    this.#last = this.#turn
    this.#isOwed = true
    this.#turn = undefined
  }

  /** Lets messages run side by side, once the next process would know of it, and find no mark of what is over. */
  #loosen(): void {
    this.#isLoosening = true
    const loose = (): void => {
      this.#isLoosening = false
      this.#isOwed = false
      this.#wakeAll()
      if (this.#isSideBySide) return
      this.#isSideBySide = true
      if (this.#isClosed) return
      this.#calm = this.#runtime.timer(calmMs, 'careful', () => this.#ends.forget(), { background: true })
    }
    // A store that has failed has ended its subscriptions too.
    const settled = this.#last?.settler.flush()
    Promise.all([settled, this.#ends.sideBySide()]).then(loose, () => {})
  }

  /** Those that have to be careful come first: the others wait until they are through. */
  #offer(): void {
    const members = this.#inTurn
    this.#offers = [...members.filter(({ isWary }) => isWary), ...members.filter(({ isWary }) => !isWary)]
    this.#offers[0]?.wake()
  }

  #wakeAll(): void {
    for (const member of this.#inTurn) member.wake()
  }

  /** Who comes after the last one is asked first. */
  get #inTurn(): CarefulMember[] {
    const members = [...this.#members]
    const next = this.#last === undefined ? 0 : members.indexOf(this.#last) + 1
    return [...members.slice(next), ...members.slice(0, next)]
  }
}
