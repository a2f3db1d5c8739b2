import type { Codec } from '../codec.ts'
import type { BrokerTopic, RecordBatch, StartPosition } from '../contracts/broker.ts'
import { startOffset } from '../contracts/start-position.ts'
import { HandedMessage } from '../dispatch/handed-message.ts'
import { QueueError } from '../errors.ts'
import type { Message } from '../message.ts'

/** Options of {@link Topic.read}. */
export interface ReadOptions {
  /** Where to begin. @defaultValue `'earliest'` */
  readonly from?: StartPosition
  /** Reads this partition only. @defaultValue all of them */
  readonly partition?: number
  /** Waits for new messages at the end instead of ending. @defaultValue `false` */
  readonly follow?: boolean
  /** Ends the reading when aborted, with `ABORTED`. */
  readonly signal?: AbortSignal
}

interface Cursor {
  readonly partition: number
  offset: number
  /** Where reading ends; Infinity when it follows. */
  readonly end: number
}

/** Reads without a group; see {@link Topic.read}. */
export async function* readTopic<V>(
  topic: BrokerTopic,
  codec: Codec<unknown>,
  options: ReadOptions & { readonly from: StartPosition },
): AsyncGenerator<Message<V>, void, void> {
  const { from, partition, follow = false, signal } = options
  const bell = new Bell(signal)
  const wanted = partition === undefined ? topic.settings.partitions : 1
  const cursors: Cursor[] = []
  for (let i = 0; i < wanted; i++) {
    const number = partition ?? i
    const end = follow ? Infinity : topic.offsets(number).end
    cursors.push({ partition: number, offset: await startOffset(topic, number, from), end })
  }
  const stops = follow ? cursors.map((cursor) => topic.watch(cursor.partition, () => bell.ring())) : []
  try {
    for (;;) {
      let found = false
      for (const cursor of cursors) {
        const page = await nextPage(topic, cursor)
        if (page === undefined) continue
        found = true
        for (let index = page.index; index < page.batch.count; index++) {
          const offset = page.batch.offsetAt(index)
          if (offset >= cursor.end) break
          bell.check()
          const key = page.batch.keyAt(index)
          const value = page.batch.valueAt(index, codec)
          yield new HandedMessage(topic.name, cursor.partition, page.batch, index, key, value, 1) as Message<V>
        }
        cursor.offset = page.batch.nextOffset
      }
      bell.check()
      if (found) continue
      if (!follow) return
      await bell.rung()
    }
  } finally {
    for (const stop of stops) stop()
    bell.stop()
  }
}

async function nextPage(
  topic: BrokerTopic,
  cursor: Cursor,
): Promise<{ batch: RecordBatch; index: number } | undefined> {
  if (topic.ended) throw topic.ended
  if (cursor.offset >= cursor.end) return undefined
  const result = await topic.fetch(cursor.partition, cursor.offset)
  if (result.kind === 'records') return result
  if (result.kind === 'empty') return undefined
  const facts = { topic: topic.name, partition: cursor.partition, from: cursor.offset, to: result.start }
  throw new QueueError(
    'GAP',
    `offsets [${facts.from}, ${facts.to}) of ${topic.name}/${facts.partition} were removed while they were read`,
    {
      ...facts,
      count: facts.to - facts.from,
    },
  )
}

/** Wakes a reader that waits, and ends it when its signal is aborted. */
class Bell {
  readonly #signal: AbortSignal | undefined
  #hasRung = false
  #wake: () => void = () => {}
  readonly #onAbort = (): void => this.ring()

  constructor(signal: AbortSignal | undefined) {
    this.#signal = signal
    signal?.addEventListener('abort', this.#onAbort)
  }

  ring(): void {
    this.#hasRung = true
    this.#wake()
  }

  async rung(): Promise<void> {
    if (!this.#hasRung) await new Promise<void>((resolve) => (this.#wake = resolve))
    this.#hasRung = false
    this.check()
  }

  check(): void {
    if (!this.#signal?.aborted) return
    throw new QueueError('ABORTED', 'the signal was aborted while reading', { cause: this.#signal.reason })
  }

  stop(): void {
    this.#signal?.removeEventListener('abort', this.#onAbort)
  }
}
