import type { OutgoingMessage } from '../message.ts'
import { checkProducerName, custom, integer, invalid, resolveOptions } from '../options.ts'
import type { AckEvent, NackEvent } from './confirms.ts'
import {
  prepareFields,
  resolvePrepareOptions,
  type PrepareOptions,
  type ResolvedPrepareOptions,
} from './check-options.ts'
import type { SendOptions } from './options.ts'
import { flushed, resolveSendOptions, Topic, type ResolvedSendOptions } from './topic.ts'

/** Options of {@link MessageQueue.producer}. */
export interface ProducerOptions extends PrepareOptions {
  /**
   * Names the producer: who opens the name again, in this process or after a restart, fences it. With sequences its sends
   * are deduplicated for ever, see {@link ProducerSendOptions.sequence}.
   *
   * @defaultValue no name
   * @remarks 1 to 249 characters without control characters. Semantics: Kafka `transactional.id`, RabbitMQ stream producers.
   */
  readonly name?: string
  /**
   * How often a send is tried again that found no room (`IN_FLIGHT_FULL`, `STORE_FULL`). Meanwhile the later sends of this
   * producer wait behind it, so their order never changes.
   *
   * @defaultValue `0`
   * @remarks Range: 0 to 1_000_000. Semantics: Kafka `retries`; differs: off by default.
   */
  readonly retries?: number
  /**
   * How long to wait before each of them, in milliseconds.
   *
   * @defaultValue `100`
   * @remarks Range: 1 to 3_600_000. Semantics: Kafka `retry.backoff.ms`.
   */
  readonly retryDelayMs?: number
  /**
   * Sends that may be under way at once, tried again or not; one more is rejected with `IN_FLIGHT_FULL`.
   *
   * @defaultValue `100_000`
   * @remarks Range: 1 to 10_000_000.
   */
  readonly maxInFlightSends?: number
  /**
   * Messages that failed of which {@link Producer.flush} tells each; further ones are only counted.
   *
   * @defaultValue `1_000`
   * @remarks Range: 1 to 1_000_000.
   */
  readonly maxFailures?: number
}

/** Options of {@link Producer.send} and {@link Producer.sendBatch}. */
export interface ProducerSendOptions extends SendOptions {
  /**
   * Number of the send, for producers with a name. It has to rise in the order of the calls, gaps are fine. What is not
   * above the last one that was accepted counts as sent: it is not appended again, and its result is a `duplicate`, with
   * the place of the first one if that is still known, else with -1 for partition, offset and timestamp. A batch has one.
   *
   * @defaultValue none: nothing is deduplicated by it
   * @remarks Range: 0 to 2 ** 53 - 1. Semantics: RabbitMQ streams' publishing id; Kafka's sequence, kept for ever.
   */
  readonly sequence?: number
}

/** A message that could not be sent, see {@link Producer.flush}. */
export interface SendFailure {
  readonly topic: string
  /** Number of its send, as in {@link NackEvent.sequence}. */
  readonly sequence: number
  readonly error: unknown
  readonly message: OutgoingMessage<unknown>
}

/** Names and payloads of the events of a {@link Producer}. */
export interface ProducerEvents {
  readonly ack: AckEvent
  readonly nack: NackEvent
}

/** @internal */
export interface ResolvedProducerOptions extends Required<Omit<ProducerOptions, 'name' | keyof PrepareOptions>> {
  readonly name: string | undefined
  readonly prepare: ResolvedPrepareOptions
}

/** @throws `INVALID_OPTION`, `INVALID_NAME` @internal */
export function resolveProducerOptions(given: ProducerOptions | undefined): ResolvedProducerOptions {
  const fields = {
    ...prepareFields,
    name: custom<string>('a name', () => true),
    retries: integer(0, 1_000_000, 0),
    retryDelayMs: integer(1, 3_600_000, 100),
    maxInFlightSends: integer(1, 10_000_000, 100_000),
    maxFailures: integer(1, 1_000_000, 1_000),
  }
  const resolved = resolveOptions<ProducerOptions>(given, fields, 'producer') as Required<ProducerOptions>
  const { checker, check, maxPrepared, maxPreparedBytes, ...rest } = resolved
  if (rest.name !== undefined) checkProducerName(rest.name)
  for (const option of Object.keys(prepareFields) as (keyof PrepareOptions)[]) {
    if (rest.name !== undefined || given?.[option] === undefined) continue
    throw invalid('producer', option, given[option], 'only set together with a name')
  }
  const prepare = resolvePrepareOptions({ checker, check, maxPrepared, maxPreparedBytes })
  return { ...rest, name: rest.name, prepare }
}

/** @internal */
export interface ResolvedProducerSend extends ResolvedSendOptions {
  readonly sequence: number | undefined
}

const isSequence = integer(0, Number.MAX_SAFE_INTEGER)

/** @throws `INVALID_OPTION` @internal */
export function resolveProducerSend(
  topic: Topic<never>,
  options: ProducerSendOptions | undefined,
  hasName: boolean,
): ResolvedProducerSend {
  if (!(topic instanceof Topic)) throw invalid('send', 'topic', topic, 'a topic of this queue')
  if (options === undefined) return { ...flushed, sequence: undefined }
  const { sequence, ...rest } = options
  const resolved = { ...resolveSendOptions(rest), sequence }
  if (sequence === undefined) return resolved
  if (!isSequence.accepts(sequence)) throw invalid('send', 'sequence', sequence, isSequence.allowed)
  if (!hasName) throw invalid('send', 'sequence', sequence, 'only set for a producer with a name')
  return resolved
}
