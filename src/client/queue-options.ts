/** Limits and settings that hold for a whole queue, whatever keeps its log. */
export interface QueueOptions {
  /**
   * Bytes of sends that may wait for the disk at once; a text counts one for each of its UTF-16 units.
   *
   * @defaultValue `67_108_864` (64 MiB)
   * @remarks Range: 1_024 to 2_147_483_648. Semantics: Kafka `buffer.memory`.
   */
  readonly maxInFlightBytes?: number
  /**
   * What a send does when {@link QueueOptions.maxInFlightBytes} is reached: wait its turn, or reject with
   * `IN_FLIGHT_FULL`.
   *
   * @defaultValue `'wait'`
   */
  readonly onFull?: 'wait' | 'reject'
  /**
   * Sends that may wait at once; one more is rejected with `IN_FLIGHT_FULL`.
   *
   * @defaultValue `100_000`
   * @remarks Range: 1 to 10_000_000.
   */
  readonly maxWaitingSends?: number
  /**
   * Bytes of the newest record batches that stay in memory, shared by all groups.
   *
   * @defaultValue `16_777_216` (16 MiB)
   * @remarks Range: 65_536 to 4_294_967_296.
   */
  readonly tailBytes?: number
  /**
   * How often retention looks for messages to remove, in milliseconds.
   *
   * @defaultValue `10_000`
   * @remarks Range: 10 to 86_400_000.
   */
  readonly retentionCheckMs?: number
  /**
   * How long {@link MessageQueue.close} waits for handlers that run, in milliseconds.
   *
   * @defaultValue `30_000`
   * @remarks Range: 0 to 86_400_000.
   */
  readonly closeTimeoutMs?: number
  /**
   * Whether a message that ends the process counts it as a failed attempt, so that it is exhausted after its `attempts`
   * instead of ending the process for ever.
   *
   * Which messages ran when a process ended is not known, so **that end counts for nobody**. The next process begins
   * carefully: for a while each message is marked on disk before its handler begins, and runs alone in the whole process.
   * A mark that is found at the next start is a failed attempt, with `PROCESS_ENDED`. So what merely ran beside is never
   * counted; a message that ran alone when something else ended the process is. So is none that ran alone for longer than
   * 5 s: then the others go on beside it, unmarked (longer each time that the process ends like that).
   *
   * Careful are the first `concurrency` messages of each subscription (times `batch.max`, in arrays of one), fewer if it
   * catches up before, and whatever ended a process already. A process that ends soon after that doubles it for the next.
   * After {@link MessageQueue.close} nothing of it happens: it costs one row a start, and nothing for each message.
   *
   * @defaultValue `true`
   */
  readonly countCrashes?: boolean
}

/** Options of {@link open}. */
export interface OpenOptions extends QueueOptions {
  /** Directory of the store; created when it is absent (its parent must exist). It belongs to one process at a time. */
  readonly path: string
  /**
   * How long one commit may take before the store counts as failed, in milliseconds.
   *
   * @defaultValue `30_000`
   * @remarks Range: 100 to 3_600_000.
   */
  readonly commitTimeoutMs?: number
  /**
   * Free bytes of the file system below which sends are refused with `STORE_FULL`, while acknowledgements, trims and
   * deletes go on.
   *
   * @defaultValue `67_108_864` (64 MiB)
   * @remarks Range: 0 to 2 ** 50.
   */
  readonly minFreeBytes?: number
  /**
   * Opens a store on a network file system, where what was flushed may be lost and two machines may open it at once.
   *
   * @defaultValue `false`
   */
  readonly allowNetworkFileSystem?: boolean
}
