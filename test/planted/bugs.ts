/** What has to happen before a bug shows; `none` where a schedule alone brings it out. */
export type Need = 'crash' | 'rebalance' | 'retry' | 'seek' | 'close' | 'trim' | 'pause' | 'none'

/** The invariant that is broken. `no-repeat`: what a live member finished is not handed out again but for a seek. */
export type Broken =
  | 'no-loss'
  | 'key-order'
  | 'no-overlap'
  | 'no-repeat'
  | 'watermark'
  | 'generation'
  | 'bounds'
  | 'log'
  | 'time'
  | 'blame'
  | 'liveness'
  | 'sent-once'
  | 'store'
  | 'prepared'
  | 'redriven'
  | 'at-least-once'
  | 'atomic-outputs'
  /** What only the test of an application can know: its own sums. */
  | 'check'

/** A small change of the engine that breaks one of its rules, as a mistake would. */
export interface PlantedBug {
  readonly name: string
  /** Path below `src`. */
  readonly file: string
  /** TypeScript text that the file contains exactly once, and what comes in its place. */
  readonly find: string
  readonly replace: string
  /** In one sentence; with the public issue that told of such a bug, where there is one. */
  readonly about: string
  readonly needs: Need
  readonly shows: Broken
}

/** Issues of confluentinc/parallel-consumer, where no other repository is named. */
export const bugs: readonly PlantedBug[] = [
  // --- progress ---
  {
    name: 'commit-highest-finished',
    file: 'groups/progress.ts',
    find: 'this.#set.add(ranges[i]!, ranges[i + 1]!)',
    replace: 'this.#set.add(0, ranges[i + 1]!)',
    about: 'The position goes to the highest finished offset instead of the lowest unfinished one.',
    needs: 'none',
    shows: 'watermark',
  },
  {
    name: 'gap-set-lost-on-restart',
    file: 'groups/progress.ts',
    find: '(key, value) => set.restorePage(pageOfKey(key), value))',
    replace: '() => {})',
    about: 'A restart takes up the position and forgets what was finished above it.',
    needs: 'crash',
    shows: 'store',
  },
  {
    name: 'attempts-lost-on-restart',
    file: 'groups/progress.ts',
    find: 'progress.#failed.set(offsetOfFailedKey(key), decodeFailed(value, errors))',
    replace: 'void [offsetOfFailedKey(key), decodeFailed(value, errors)]',
    about: 'A restart counts the attempts of a failed message anew.',
    needs: 'crash',
    shows: 'time',
  },
  {
    name: 'wait-lost-on-restart',
    file: 'dispatch/retries.ts',
    find: 'if (leftMs > 0) this.#wait(lane, retry, leftMs)',
    replace: 'void leftMs',
    about: 'A restart hands a failed message out at once, before its back-off is over.',
    needs: 'crash',
    shows: 'time',
  },
  {
    name: 'resumed-key-is-overtaken',
    file: 'dispatch/resumption.ts',
    find: 'const key = this.#laneOf(state.key)',
    replace: 'const key = undefined as string | undefined',
    about: 'After a restart the next message of a key starts while the failed one still waits.',
    needs: 'crash',
    shows: 'key-order',
  },
  {
    name: 'innocents-counted-as-attempts',
    file: 'dispatch/careful-deliveries.ts',
    find: 'return this.#inner.running === 0 && this.#inner.gathered === 0',
    replace: 'return this.#inner.gathered === 0',
    about:
      'After a crash messages are marked, but run side by side: all of them are counted when the process ends again.',
    needs: 'crash',
    shows: 'blame',
  },
  {
    name: 'restored-page-off-by-one',
    file: 'offset-set.ts',
    find: 'if (offset >= this.#ceiling) this.#ceiling = offset + 1',
    replace: 'if (offset >= this.#ceiling) this.#ceiling = offset',
    about: 'A page of finished offsets comes back from the store without its highest one.',
    needs: 'crash',
    shows: 'store',
  },
  {
    name: 'forgets-after-gap',
    file: 'dispatch/partition-intake.ts',
    find: '      this.index++\n    }',
    replace: '      this.index += 2\n    }',
    about: 'Reading moves over a finished message and over the unfinished one behind it.',
    needs: 'crash',
    shows: 'liveness',
  },
  {
    name: 'settled-before-commit',
    file: 'groups/group.ts',
    find: 'return this.#committed()',
    replace: 'void this.#committed().catch(() => {})\n    return Promise.resolve()',
    about: 'A settlement is confirmed before its commit is flushed.',
    needs: 'crash',
    shows: 'store',
  },
  {
    name: 'lost-wake-up-after-settlement',
    file: 'dispatch/dispatcher.ts',
    find: 'this.lanes.hasReady) this.#schedule()\n    this.settler.settleSoon(this.running)',
    replace: 'this.lanes.hasReady) this.#schedule()',
    about: 'What was finished while the last settlement was under way is never settled, because nothing else moves.',
    needs: 'none',
    shows: 'liveness',
  },
  {
    name: 'finished-at-batch-boundary',
    file: 'dispatch/partition-intake.ts',
    find: 'if (found > this.#offset) this.finish(this.#offset, found)',
    replace: 'if (found >= this.#offset) this.finish(this.#offset, found + 1)',
    about: 'The first message of each batch that is read counts as finished before it was handed out.',
    needs: 'none',
    shows: 'watermark',
  },
  // --- owners ---
  {
    name: 'key-twice-after-reassignment',
    file: 'dispatch/dispatcher.ts',
    find: 'await this.moves.until(() => leaving.every(({ running }) => running === 0))',
    replace: '',
    about:
      'A member gives a partition back while its handlers run, so a key runs on two members (astubbs/parallel-consumer #517).',
    needs: 'rebalance',
    shows: 'no-overlap',
  },
  {
    name: 'granted-before-released',
    file: 'groups/group.ts',
    find: 'await owner.listener.revoked(assignments)',
    replace: 'void owner.listener.revoked(assignments).catch(() => {})',
    about:
      'A partition is granted to its next owner before the one before has answered (astubbs/parallel-consumer #517).',
    needs: 'rebalance',
    shows: 'no-overlap',
  },
  {
    name: 'finished-lost-on-revoke',
    file: 'dispatch/dispatcher.ts',
    find: 'await this.settler.flush()',
    replace: '',
    about:
      'A partition is given back without the last settlement, so its next owner runs finished messages again (#827).',
    needs: 'rebalance',
    shows: 'no-repeat',
  },
  {
    name: 'failed-counts-as-done-on-revoke',
    file: 'dispatch/single-deliveries.ts',
    find: 'if (!hasFailed) host.finish(intake, call.offset)',
    replace: 'if (!hasFailed || intake.isEnded) host.finish(intake, call.offset)',
    about: 'A message that fails while its partition is given back counts as finished (#826, #875).',
    needs: 'rebalance',
    shows: 'no-loss',
  },
  {
    name: 'released-never-granted',
    file: 'groups/group.ts',
    find: 'void this.#release(moving).then(() => this.#rebalance())',
    replace: 'void this.#release(moving)',
    about: 'A partition that its owner gave back for another member is granted to nobody.',
    needs: 'rebalance',
    shows: 'liveness',
  },
  {
    name: 'late-release-disowns',
    file: 'groups/group.ts',
    find: 'if (place.fence === assignments[i]!.fence) this.#disown(place)',
    replace: 'this.#disown(place)',
    about: 'The late release of an abandoned member takes the partition away from its new owner.',
    needs: 'close',
    shows: 'generation',
  },
  {
    name: 'fence-ignored',
    file: 'groups/group.ts',
    find: 'if (place?.owner === member && place.fence === assignment.fence) return',
    replace: 'if (place !== undefined) return',
    about: 'A settlement of a member that lost the partition is accepted.',
    needs: 'close',
    shows: 'generation',
  },
  // --- close ---
  {
    name: 'drop-on-close',
    file: 'dispatch/dispatcher.ts',
    find: "if (this.#isClosing && isQueueError(error, 'CLOSED')) return",
    replace: 'if (this.#isClosing) return this.#finish(entry.intake, entry.offset)',
    about: 'A message whose handler fails while the subscription closes counts as finished (#826, #827, #875).',
    needs: 'close',
    shows: 'no-loss',
  },
  {
    name: 'gathered-finished-on-close',
    file: 'dispatch/batch-deliveries.ts',
    find: 'this.#gatherer.remove(matches)) {\n      intake.running--',
    replace:
      'this.#gatherer.remove(matches)) {\n      intake.running--\n      this.#host.finish(intake, message.offset)',
    about: 'Messages that were gathered for a call that is never made count as finished (#827).',
    needs: 'close',
    shows: 'no-loss',
  },
  {
    name: 'close-does-not-flush',
    file: 'embedded/embedded-broker.ts',
    find: 'await this.#commit.settled()',
    replace: '',
    about: 'Closing does not wait for commits that could not begin yet, so buffered messages are lost.',
    needs: 'close',
    shows: 'no-loss',
  },
  // --- retries ---
  {
    name: 'next-starts-while-retry-waits',
    file: 'dispatch/single-deliveries.ts',
    find: 'if (!intake.isEnded || host.isAtMostOnce) host.fail(lane, call.entry, error)',
    replace: 'if (!intake.isEnded) host.fail(host.lanes.open(call.key, new Map()), call.entry, error)',
    about: 'A failed message waits beside the lane of its key, which goes on with the next one.',
    needs: 'retry',
    shows: 'key-order',
  },
  {
    name: 'arrival-overtakes-lane',
    file: 'dispatch/admission.ts',
    find: 'if (lane === undefined) {',
    replace: 'if (lane === undefined || !lane.isBusy) {',
    about:
      'A message that arrives is handed out before one of its key that waits for its retry (an order race as in #534).',
    needs: 'retry',
    shows: 'key-order',
  },
  {
    name: 'one-retry-wakes-all',
    file: 'dispatch/retries.ts',
    find: 'let due = this.#due.shiftDue(now); due !== undefined; due = this.#due.shiftDue(now)',
    replace: 'let due = this.#due.shiftDue(Infinity); due !== undefined; due = this.#due.shiftDue(Infinity)',
    about: 'When the first of the waiting retries is due, all of them are handed out.',
    needs: 'retry',
    shows: 'time',
  },
  {
    name: 'second-retry-never-wakes',
    file: 'dispatch/retries.ts',
    find: 'if (this.#due.size > 0) this.#arm()',
    replace: '',
    about: 'After a retry fired, the timer is not set for the next one.',
    needs: 'retry',
    shows: 'liveness',
  },
  {
    name: 'one-attempt-too-many',
    file: 'dispatch/retry-policy.ts',
    find: 'if (attempt >= policy.attempts)',
    replace: 'if (attempt > policy.attempts)',
    about: 'A message is tried once more often than was asked for.',
    needs: 'retry',
    shows: 'bounds',
  },
  {
    name: 'retry-blocks-intake',
    file: 'dispatch/admission.ts',
    find: 'if (!lanes.hasRoom) return false',
    replace: 'if (!lanes.hasRoom || [...retries.lanes].length > 0) return false',
    about:
      'While any message waits for its retry or is parked, nothing is read, and handlers sit idle (#857, astubbs/parallel-consumer #487).',
    needs: 'retry',
    shows: 'liveness',
  },
  {
    name: 'slot-lost-after-error',
    file: 'dispatch/single-deliveries.ts',
    find: 'this.running--',
    replace: 'if (!hasFailed) this.running--',
    about: 'A handler that fails keeps its place among those that may run at once, until all stall (#402).',
    needs: 'retry',
    shows: 'liveness',
  },
  {
    name: 'skipped-at-batch-boundary',
    file: 'dispatch/log-reader.ts',
    find: 'offset < loaded.batch.nextOffset) return loaded',
    replace: 'offset <= loaded.batch.nextOffset) return loaded',
    about:
      'A waiting message that is the first of its batch is looked for in the batch before: it is skipped, another one runs again.',
    needs: 'retry',
    shows: 'liveness',
  },
  {
    name: 'batch-failure-keeps-later',
    file: 'dispatch/batch-deliveries.ts',
    find: 'if (later) {',
    replace: 'if (later && failure) {',
    about: 'A message of an array is finished although an earlier one of its key in the same array failed.',
    needs: 'retry',
    shows: 'key-order',
  },
  // --- lanes ---
  {
    name: 'partitions-share-a-lane',
    file: 'dispatch/intakes.ts',
    find: 'if (this.#isByPartition) return new Map()',
    replace: '',
    about: 'With one lane a partition, all partitions of a topic wait for each other.',
    needs: 'none',
    shows: 'liveness',
  },
  {
    name: 'topics-share-a-lane',
    file: 'dispatch/intakes.ts',
    find: 'let lanes = this.#lanesOfTopic.get(topic)',
    replace: 'let lanes = this.#lanesOfTopic.values().next().value',
    about: 'A key that is busy in one topic is not handed out from another one (#184).',
    needs: 'none',
    shows: 'liveness',
  },
  {
    name: 'keyless-share-a-lane',
    file: 'dispatch/admission.ts',
    find: "=== 'key' ? batch.keyAt(index) :",
    replace: "=== 'key' ? (batch.keyAt(index) ?? '') :",
    about: 'Messages without a key wait for each other (#183).',
    needs: 'none',
    shows: 'liveness',
  },
  {
    name: 'one-handler-too-many',
    file: 'dispatch/dispatcher.ts',
    find: 'if (this.deliveries.running >= this.#concurrency',
    replace: 'if (this.deliveries.running > this.#concurrency',
    about: 'One handler more than the concurrency allows runs at once.',
    needs: 'none',
    shows: 'bounds',
  },
  {
    name: 'paused-key-loses-a-message',
    file: 'dispatch/admission.ts',
    find: 'held.blocked |= blockedBy.pausedKey\n        lanes.add(held, source, index)',
    replace: 'held.blocked |= blockedBy.pausedKey',
    about: 'The first message that is read of a paused key is forgotten when the key goes on.',
    needs: 'pause',
    shows: 'liveness',
  },
  // --- seek ---
  {
    name: 'seek-with-stale-lanes',
    file: 'dispatch/key-lanes.ts',
    find: 'if (lane.retry?.intake === intake) {',
    replace: 'if (lane.retry?.intake === intake && lane.count > 0) {',
    about: 'A seek leaves waiting retries in their lanes, and they run after it.',
    needs: 'seek',
    shows: 'log',
  },
  {
    name: 'seek-without-release',
    file: 'groups/group.ts',
    find: 'await this.#release(chosen)',
    replace: '',
    about: 'A seek moves the position under an owner that goes on from where it was.',
    needs: 'seek',
    shows: 'liveness',
  },
  {
    name: 'seek-leaves-finished-rows',
    file: 'groups/progress.ts',
    find: 'this.#obsoletePages.push(...this.#set.pageNumbers())',
    replace: '',
    about: 'What was finished before a seek back comes back with the next restart.',
    needs: 'seek',
    shows: 'no-loss',
  },
  // --- time limits ---
  {
    name: 'late-result-finishes',
    file: 'dispatch/single-deliveries.ts',
    find: 'this.#settle(call, true, timeout)',
    replace: 'this.#settle(call, hasFailed, timeout)',
    about: 'What a handler returns after its time finishes the message.',
    needs: 'none',
    shows: 'at-least-once',
  },
  {
    name: 'abandoned-ends-twice',
    file: 'dispatch/single-deliveries.ts',
    find: "    call.context!.byHand?.refuse('its time was over', error)\n    call.end()\n",
    replace: '',
    about: 'An abandoned call that ends late frees its key and its place once more, which the next attempt has.',
    needs: 'retry',
    shows: 'no-overlap',
  },
  // --- log ---
  {
    name: 'acked-before-commit',
    file: 'embedded/embedded-topic.ts',
    find: "if (acks === 'buffered') return Promise.resolve(result)",
    replace: 'return Promise.resolve(result)',
    about: 'A send is acknowledged before its commit is flushed.',
    needs: 'crash',
    shows: 'no-loss',
  },
  {
    name: 'shown-before-flushed',
    file: 'log/partition-log.ts',
    find: 'if (batch.buffered && this.#visibleEnd === base)',
    replace: 'if (this.#visibleEnd === base)',
    about: 'A message is handed out before it is flushed; after a crash its offset is another message.',
    needs: 'crash',
    shows: 'log',
  },
  {
    name: 'send-batch-in-two-commits',
    file: 'embedded/embedded-topic.ts',
    find: 'if (this.#context.gate.enter(bytes)) return this.#appendAll(records, bytes, options.acks)',
    replace: `if (this.#context.gate.enter(bytes)) {
        const [now, then] = [records.slice(0, records.length >> 1), records.slice(records.length >> 1)]
        return this.#appendAll(now, bytes, options.acks).then(async (first) => [...first, ...(await this.#appendAll(then, 0, options.acks))])
      }`,
    about: 'The messages of one sendBatch go into two commits, so that a crash keeps half of them.',
    needs: 'crash',
    shows: 'log',
  },
  {
    name: 'send-overtakes',
    file: 'embedded/send-gate.ts',
    find: 'if (this.#waitingCount === 0 && this.#hasRoom(bytes)) return true',
    replace: 'if (this.#hasRoom(bytes)) return true',
    about: 'A small send enters before larger ones that wait for room.',
    needs: 'none',
    shows: 'log',
  },
  {
    name: 'trim-takes-too-much',
    file: 'log/partition-log.ts',
    find: 'batch.nextOffset <= this.#start && batch.nextOffset <= this.#flushedEnd',
    replace: 'batch.baseOffset < this.#start && batch.nextOffset <= this.#flushedEnd',
    about: 'A trim removes the batch that reaches over the new start, with messages that were to stay.',
    needs: 'trim',
    shows: 'no-loss',
  },
  {
    name: 'trim-finishes-one-more',
    file: 'dispatch/log-reader.ts',
    find: 'intake.finish(from, to)',
    replace: 'intake.finish(from, to + 1)',
    about: 'The first message behind a gap counts as finished together with what was trimmed.',
    needs: 'trim',
    shows: 'watermark',
  },
  // --- effects ---
  {
    name: 'dead-letter-without-progress',
    file: 'dispatch/dead-lettering.ts',
    find: 'settler.accept([entry], { outputs,',
    replace: 'settler.accept([], { outputs,',
    about: 'A message is stored as a dead letter and not finished, so that its next owner moves it once more.',
    needs: 'retry',
    shows: 'atomic-outputs',
  },
  {
    name: 'redrive-out-of-order',
    file: 'dispatch/redrive-order.ts',
    find: '.sort(byOrigin)',
    replace: '',
    about: 'A message that failed again after a redrive is sent back behind the later letters of its key.',
    needs: 'retry',
    shows: 'redriven',
  },
  {
    name: 'redrive-without-progress',
    file: 'client/letter-log.ts',
    find: 'transact({ outputs, parts: [] }, acks, {',
    replace: 'transact({ outputs, parts: [] }, [], {',
    about: 'A dead letter is sent back and not finished, so that the next redrive sends it once more.',
    needs: 'retry',
    shows: 'redriven',
  },
  {
    name: 'torn-outputs',
    file: 'embedded/embedded-broker.ts',
    find: '=> this.#take([part(settlement), ...parts], outputs),',
    replace: `=> {
        const progress = part(settlement)
        const apply = () => this.#commit.wait(() => progress.apply([]), () => {}, undefined)
        return this.#take([{ check: () => progress.check(), apply }, ...parts], outputs)
      },`,
    about:
      'What a handler sent goes to disk one commit before its progress, so that a crash in between sends it twice.',
    needs: 'crash',
    shows: 'atomic-outputs',
  },
  {
    name: 'effect-without-mark',
    file: 'client/local-idempotent-handler.ts',
    find: 'context.join(part)',
    replace: `let isTaken = false
      const apply = () => {
        isTaken = true
        this.#host.runtime.timer(20, 'mark', () => this.#host.commit(part))
      }
      context.join({ check: () => part.check(), apply, end: () => isTaken || claim.release() })`,
    about:
      'The mark of a message is stored some time after its effect, so that a crash in between forgets it was done.',
    needs: 'crash',
    shows: 'check',
  },
  {
    name: 'mark-without-effect',
    file: 'client/local-idempotent-handler.ts',
    find: 'context.join(part)',
    replace: 'this.#host.commit(part)',
    about: 'A message is marked although its effects are refused by a conflict: its next delivery is taken for done.',
    needs: 'none',
    shows: 'check',
  },
  {
    name: 'called-before-acknowledged',
    file: 'dispatch/at-most-once-deliveries.ts',
    find: 'settler.acknowledge(intake, new Acknowledgement(true, settled, refused))',
    replace: 'void [refused, settled()]',
    about: "With ackMode 'before' a handler is called before its message is finished on disk.",
    needs: 'crash',
    shows: 'no-repeat',
  },
  // --- prepared messages ---
  {
    name: 'half-message-committed-twice',
    file: 'embedded/embedded-prepared.ts',
    find: 'this.#table.removed(entry.ref)',
    replace: '...[]',
    about: 'A prepared message that was committed stays prepared, and its checker commits it once more.',
    needs: 'none',
    shows: 'prepared',
  },
  {
    name: 'rolled-back-is-back-after-restart',
    file: 'embedded/embedded-prepared.ts',
    find: 'await this.#commit([], [...parts, this.#table.removed(ref)])',
    replace: 'void this.#commit([], [...parts, this.#table.removed(ref)]).catch(() => {})',
    about: 'A rollback is confirmed before its commit is flushed, so that a power loss brings the message back.',
    needs: 'crash',
    shows: 'prepared',
  },
  // --- producers ---
  {
    name: 'old-producer-not-fenced',
    file: 'embedded/producer-registry.ts',
    find: 'if (newest === session) return',
    replace: 'if (newest !== undefined) return',
    about: 'A producer whose name was opened again goes on sending.',
    needs: 'none',
    shows: 'sent-once',
  },
  {
    name: 'ids-in-a-later-commit',
    file: 'embedded/message-ids.ts',
    find: 'this.#nextRow - 1, this.#context.runtime.monotonic())\n    this.#context.commit.mark(this)',
    replace:
      "this.#nextRow - 1, this.#context.runtime.monotonic())\n    this.#context.runtime.timer(20, 'ids', () => this.#context.commit.mark(this))",
    about: 'The ids of messages are stored some time after their messages, so a crash in between forgets them.',
    needs: 'crash',
    shows: 'sent-once',
  },
]
