import type { Accepted, Output } from '../contracts/broker.ts'
import type { CommitPart } from '../contracts/commit-part.ts'
import type { SendResult } from '../message.ts'
import { sizeOf, type EmbeddedTopic } from './embedded-topic.ts'
import type { SendGate } from './send-gate.ts'

/**
 * Takes parts and outputs together, or none of them.
 *
 * Everything is checked before anything is applied, and all of it in one synchronous stretch. Whatever changes within one
 * stretch is marked for the same commit, and a commit is one transaction of the store: that is all that atomicity takes.
 *
 * @throws what a check threw: nothing has changed then
 */
export function takeTogether(
  gate: SendGate,
  parts: readonly CommitPart[],
  outputs: readonly Output[],
): Accepted & { readonly results: SendResult[] } {
  for (const { topic } of outputs) if (topic.ended) throw topic.ended
  const room = roomFor(parts, outputs)
  if (room > 0) gate.assertAvailable(room)
  for (const part of parts) part.check()
  const results: SendResult[] = []
  let bytes = 0
  for (const { topic, record } of outputs) {
    results.push((topic as EmbeddedTopic).take(record))
    bytes += sizeOf(record)
  }
  for (const part of parts) part.apply(results)
  return { results, bytes }
}

/** Bytes for which there must be room; 0 for what only moves or acknowledges, which is never held up. */
export function roomFor(parts: readonly CommitPart[], outputs: readonly Output[]): number {
  let bytes = 0
  let needsRoom = false
  for (const { record, isMove } of outputs) {
    bytes += sizeOf(record)
    needsRoom ||= isMove !== true
  }
  for (const part of parts) {
    if (part.bytes === undefined) continue
    bytes += part.bytes
    needsRoom = true
  }
  // An empty message takes room as well.
  return needsRoom ? Math.max(1, bytes) : 0
}
