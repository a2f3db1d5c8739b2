import type { Dispatcher } from '../../dispatch/dispatcher.ts'
import type { SimulatedMember } from './member.ts'
import type { ObservedLife } from './observed-life.ts'
import type { RunningCall } from './running-call.ts'

/** Notes which calls of a member run out of time, and which are cancelled. */
export function observeLimits(dispatcher: Dispatcher, member: SimulatedMember, life: ObservedLife): void {
  const { group, name } = member
  const { deliveries } = dispatcher
  const cancel = deliveries.cancel.bind(deliveries)
  deliveries.cancel = (matches, error) => {
    const calls = cancel(matches, error)
    life.note('cancelled', { group, member: name, calls, error })
    return calls
  }
  const { timeLimit } = dispatcher
  if (timeLimit === undefined) return
  const isAbandoned = timeLimit.settings.onTimeout === 'abandon'
  const expire = timeLimit.expire.bind(timeLimit)
  timeLimit.expire = (context, entries) => {
    const error = expire(context, entries)
    const call = life.limited.get(context)
    if (call !== undefined) noteTimeout(call, { error, isAbandoned }, life)
    return error
  }
}

function noteTimeout(call: RunningCall, timeout: NonNullable<RunningCall['timeout']>, life: ObservedLife): void {
  const { isAbandoned, error } = timeout
  const { isDuplicate, hasEnded } = call
  call.timeout = timeout
  for (const delivery of call.deliveries) life.note('timed-out', { ...delivery, isDuplicate, isAbandoned })
  if (isAbandoned) life.running.delete(call)
  else if (!hasEnded) return
  // Where it was done already, but the engine did not know it yet, it fails what was done, as a duplicate can.
  for (const delivery of call.deliveries)
    life.note('error', { ...delivery, isDuplicate: isDuplicate || hasEnded, error })
}
