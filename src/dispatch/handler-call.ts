import type { CallContext, CallEntry } from './handed-message.ts'
import type { Lane } from './key-lanes.ts'

/**
 * One handler call that takes time. Calls are used again, so that a message costs no closure: the two functions that its
 * promise is given are made once.
 */
export class HandlerCall {
  context: CallContext | undefined
  startedAt = 0
  isActive = false
  readonly entries: CallEntry[] = []
  /** The lane of each entry. */
  readonly lanes: Lane[] = []
  readonly onFulfilled: (result: unknown) => void
  readonly onRejected: (error: unknown) => void

  constructor(ended: (call: HandlerCall, hasFailed: boolean, result: unknown) => void) {
    this.onFulfilled = (result) => {
      if (this.isActive) ended(this, false, result)
    }
    this.onRejected = (error) => {
      if (this.isActive) ended(this, true, error)
    }
  }

  begin(context: CallContext, startedAt: number): void {
    this.context = context
    this.startedAt = startedAt
    this.isActive = true
  }

  add(lane: Lane, entry: CallEntry): void {
    this.lanes.push(lane)
    this.entries.push(entry)
  }

  end(): void {
    this.isActive = false
    this.context = undefined
    this.entries.length = 0
    this.lanes.length = 0
  }
}
