import { Subscription } from '../../client/subscription.ts'
import { Dispatcher } from '../../dispatch/dispatcher.ts'
import type { History } from '../history.ts'
import type { Life } from './life.ts'
import type { SimulatedMember } from './member.ts'
import type { Point } from './point.ts'

/** The member that a point concerns. */
export function memberAt({ member, group }: Point, life: Life): SimulatedMember | undefined {
  return life.members.find(({ name, group: own }) => (member === undefined ? own === group : name === member))
}

/** Another member like this one joins its group. */
export async function joinLike(life: Life, history: History, like: SimulatedMember | undefined): Promise<void> {
  if (like === undefined) return
  const { settings, consumed, remembering } = like
  history.add('fault', { name: 'join', text: `another member joins ${settings.group}` })
  const called = life.handler(settings, consumed, like.handler, remembering)
  const marks = remembering(called)
  const handler = marks?.handle ?? called
  const { runtime, events, broker, turns } = life
  const dispatcher = new Dispatcher(settings, runtime, events, consumed, handler, broker, () => {}, turns)
  const topics = consumed.map(({ topic }) => topic)
  const membership = await life.broker.join({ group: settings.group, topics, from: 'earliest', listener: dispatcher })
  dispatcher.membership = membership
  marks?.start((isHeld) => dispatcher.pauses.hold(isHeld))
}

/** A member leaves its group, after what it runs. */
export function leaveGroup(life: Life, history: History, member: SimulatedMember | undefined): void {
  if (member?.dispatcher === undefined || member.membership === undefined) return
  if (member.isLeaving || member.hasLeft) return
  member.isLeaving = true
  history.add('fault', { name: 'leave', text: `${member.name} leaves ${member.group}` })
  const { dispatcher, membership, group } = member
  const { broker, runtime } = life
  const closeTimeoutMs = 86_400_000
  const context = { broker, runtime, dispatcher, membership, closeTimeoutMs, onClosed: () => {}, acks: undefined }
  void new Subscription(group, context).close()
}
