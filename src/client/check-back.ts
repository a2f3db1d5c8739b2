import PQueue from 'p-queue'
import type { CommitPart } from '../contracts/commit-part.ts'
import type { DuePrepared, PreparedMessages, PreparedRef, StoredPrepared } from '../contracts/prepared.ts'
import { isQueueError, QueueError } from '../errors.ts'
import type { EventHub } from '../events.ts'
import { show } from '../options.ts'
import type { Runtime, Timer } from '../runtime/runtime.ts'
import type { CheckAnswer, Checker, CheckOptions, PreparedContent } from './check-options.ts'
import { preparedId } from './prepared-message.ts'
import type { SteadyClock } from './steady-clock.ts'

/** What asking needs of the producer around it. */
export interface CheckHost {
  readonly producer: string
  /** Of this opening of the name. What earlier ones prepared has nobody else who would decide. */
  readonly epoch: number
  readonly prepared: PreparedMessages
  readonly runtime: Runtime
  readonly events: EventHub
  readonly clock: SteadyClock
  /** What has to hold at every change: that the name is still ours. */
  fence(): CommitPart
  content(stored: StoredPrepared): Promise<PreparedContent>
  /** Moves a message to the dead letters; returns their topic. */
  giveUp(stored: StoredPrepared, lastError: unknown): Promise<string>
}

/** What somebody who was asked said, and why when they did not know. */
interface Finding {
  readonly answer: CheckAnswer
  readonly error: unknown
}

/** Rows that are looked through at once. */
const pageSize = 256

/**
 * Asks the checker about prepared messages that nobody decided about, in the order in which they are due.
 *
 * They stay in their rows; in memory are those that are asked about, and a page of those that come next. Being asked is
 * stored before the checker is: a question that ends the process counts as well.
 */
export class CheckBack {
  readonly #host: CheckHost
  readonly #checker: Checker
  readonly #options: Required<CheckOptions>
  readonly #queue: PQueue
  /** Messages that are asked about, or are about to be. */
  readonly #taken = new Set<string>()
  readonly #questions = new Set<AbortController>()
  #timer: Timer | undefined
  #timerDueAt = Infinity
  #isScheduled = false
  /** How far the messages of earlier epochs have been looked for. */
  #swept: DuePrepared | undefined
  #isSwept = false
  #isOver = false

  constructor(host: CheckHost, checker: Checker, options: Required<CheckOptions>) {
    this.#host = host
    this.#checker = checker
    this.#options = options
    this.#queue = new PQueue({ concurrency: options.concurrency })
    const last = host.prepared.lastDue(host.producer)
    const { timeoutMs, maxDelayMs, answerTimeoutMs } = options
    if (last) host.clock.limit(last.dueAt, Math.max(timeoutMs, maxDelayMs + answerTimeoutMs))
    this.#schedule()
  }

  /** A message is due then. */
  waitFor(dueAt: number): void {
    if (this.#isOver || dueAt >= this.#timerDueAt) return
    this.#timer?.cancel()
    this.#timerDueAt = dueAt
    const delayMs = Math.max(1, dueAt - this.#host.clock.now())
    this.#timer = this.#host.runtime.timer(delayMs, 'check-back', this.#look)
  }

  /** A message was decided about. A timer for nothing would hold the process open. */
  decided(): void {
    if (this.#timer === undefined || this.#host.prepared.usage(this.#host.producer).count > 0) return
    this.#disarm()
  }

  /** Asks nothing more; answers that come now change nothing. Idempotent. */
  close(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#disarm()
    this.#queue.clear()
    const reason = new QueueError('CLOSED', `producer ${this.#host.producer} was closed`)
    for (const question of this.#questions) question.abort(reason)
  }

  #disarm(): void {
    this.#timer?.cancel()
    this.#timer = undefined
    this.#timerDueAt = Infinity
  }

  #schedule(): void {
    if (this.#isScheduled || this.#isOver) return
    this.#isScheduled = true
    this.#host.runtime.later('check-back', this.#look)
  }

  readonly #look = (): void => {
    this.#isScheduled = false
    if (this.#isOver) return
    this.#disarm()
    try {
      this.#takeDue()
      if (!this.#isSwept && this.#taken.size < pageSize) this.#sweep()
    } catch {
      // The queue was closed or its store failed, which everyone else is told of.
      this.close()
    }
  }

  /** What is due is taken first; the timer is set for the first that is not. */
  #takeDue(): void {
    const { prepared, producer, clock } = this.#host
    const now = clock.now()
    for (const due of prepared.due(producer, { after: undefined, limit: this.#taken.size + pageSize })) {
      if (this.#taken.has(preparedId(due.ref))) continue
      if (due.dueAt > now) return this.waitFor(due.dueAt)
      this.#take(due.ref)
    }
  }

  /** Then a page of those of earlier epochs that nobody was asked about yet, due or not. */
  #sweep(): void {
    const { prepared, producer, epoch } = this.#host
    const page = prepared.due(producer, { after: this.#swept, limit: pageSize })
    for (const { ref, checks } of page) {
      if (ref.epoch < epoch && checks === 0 && !this.#taken.has(preparedId(ref))) this.#take(ref)
    }
    this.#swept = page.at(-1)
    this.#isSwept = page.length < pageSize
    if (!this.#isSwept && this.#taken.size < pageSize) this.#schedule()
  }

  #take(ref: PreparedRef): void {
    const id = preparedId(ref)
    this.#taken.add(id)
    const over = (): void => {
      this.#taken.delete(id)
      if (this.#taken.size <= pageSize / 2) this.#schedule()
    }
    const failed = (error: unknown): void => {
      // Somebody decided in the meantime; anything else means that this producer can't go on.
      if (!isQueueError(error, 'PREPARED_ENDED')) this.close()
    }
    void this.#queue
      .add(() => this.#ask(ref))
      .catch(failed)
      .then(over)
  }

  async #ask(ref: PreparedRef): Promise<void> {
    if (this.#isOver) return
    const { prepared, clock, fence, content } = this.#host
    const stored = prepared.get(ref)
    if (stored === undefined) return
    const { attempts, answerTimeoutMs } = this.#options
    // It was asked about as often as that before: by a process that died over it, or with a higher limit.
    if (stored.checks >= attempts) return this.#giveUp(stored, undefined)
    const checks = stored.checks + 1
    const waitMs = this.#delayMs(checks)
    await prepared.postpone(ref, { checks, dueAt: clock.now() + answerTimeoutMs + waitMs }, [fence()])
    const asked = { ...stored, checks }
    const finding = await this.#question(await content(asked))
    if (finding === undefined) return
    const settled = await this.#settle(asked, finding)
    if (settled.answer !== 'unknown') return this.#tell(asked, settled, undefined)
    if (checks >= attempts) {
      this.#tell(asked, settled, undefined)
      return this.#giveUp(asked, settled.error)
    }
    const dueAt = clock.now() + waitMs
    await prepared.postpone(ref, { checks, dueAt }, [fence()])
    this.#tell(asked, settled, waitMs)
    this.waitFor(dueAt)
  }

  /** Asks once; undefined when nobody waits for the answer any more. */
  #question(content: PreparedContent): Promise<Finding | undefined> {
    if (this.#isOver) return Promise.resolve(undefined)
    const question = new AbortController()
    this.#questions.add(question)
    const { answerTimeoutMs } = this.#options
    return new Promise<Finding | undefined>((resolve) => {
      const late = (): void => {
        const error = new QueueError('ABORTED', `the checker did not answer within ${answerTimeoutMs} ms`)
        resolve({ answer: 'unknown', error })
        question.abort(error)
      }
      const timer = this.#host.runtime.timer(answerTimeoutMs, 'check-back answer', late)
      question.signal.addEventListener('abort', () => {
        timer.cancel()
        this.#questions.delete(question)
        resolve(undefined)
      })
      const answered = (finding: Finding): void => {
        timer.cancel()
        this.#questions.delete(question)
        resolve(finding)
      }
      const ask = async (): Promise<Finding> =>
        findingOf(await this.#checker(content, { signal: question.signal }), content)
      ask().then(answered, (error: unknown) => answered({ answer: 'unknown', error }))
    })
  }

  /** Does as was said. A message that can't be appended stays, as if nobody knew. */
  async #settle(stored: StoredPrepared, finding: Finding): Promise<Finding> {
    const { prepared, fence } = this.#host
    if (finding.answer === 'rollback') await prepared.rollback(stored.ref, [fence()])
    if (finding.answer !== 'commit') return finding
    try {
      await prepared.commit(stored.ref, [fence()])
      return finding
    } catch (error) {
      if (!isOfTopic(error)) throw error
      return { answer: 'unknown', error }
    }
  }

  async #giveUp(stored: StoredPrepared, error: unknown): Promise<void> {
    const { producer, events, clock, prepared, fence } = this.#host
    const { ref, topic, key, checks } = stored
    try {
      const deadLetters = await this.#host.giveUp(stored, error)
      const facts = { producer, id: preparedId(ref), topic, key, checks, deadLetters, error }
      if (!this.#isOver) events.emit('prepared:dead-lettered', facts)
    } catch (refused) {
      if (!isOfTopic(refused)) throw refused
      // It is never lost: where it can't go, it stays, and is tried again.
      const waitMs = this.#options.maxDelayMs
      await prepared.postpone(ref, { checks, dueAt: clock.now() + waitMs }, [fence()])
      this.#tell(stored, { answer: 'unknown', error: refused }, waitMs)
      this.waitFor(clock.now() + waitMs)
    }
  }

  #tell({ ref, topic, key, checks }: StoredPrepared, { answer, error }: Finding, nextInMs: number | undefined): void {
    if (this.#isOver) return
    const { producer, events } = this.#host
    events.emit('prepared:checked', {
      producer,
      id: preparedId(ref),
      topic,
      key,
      check: checks,
      answer,
      error,
      nextInMs,
    })
  }

  #delayMs(checks: number): number {
    const { delayMs, maxDelayMs } = this.#options
    // Doubling ends long before 2 ** 1024, which is Infinity.
    return Math.min(maxDelayMs, delayMs * 2 ** Math.min(checks - 1, 64))
  }
}

function findingOf(answer: unknown, { topic, id }: PreparedContent): Finding {
  if (answer === 'commit' || answer === 'rollback' || answer === 'unknown') return { answer, error: undefined }
  const allowed = `'commit', 'rollback' or 'unknown'`
  const message = `the checker answered ${show(answer)} about the prepared message ${id} for ${topic}; allowed is ${allowed}`
  return {
    answer: 'unknown',
    error: new QueueError('INVALID_OPTION', message, { option: 'checker', value: answer, allowed, topic, id }),
  }
}

/** Whether only this message is concerned, because of the topic that it is for. */
function isOfTopic(error: unknown): boolean {
  return (
    isQueueError(error, 'TOPIC_NOT_FOUND') ||
    isQueueError(error, 'TOPIC_DELETED') ||
    isQueueError(error, 'TOPIC_CONFLICT')
  )
}
