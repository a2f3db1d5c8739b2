import type { HistoryEvent, MemberLimits } from '../history.ts'

/** What is known of the members of all groups. */
export class Members {
  readonly #groups = new Map<string, Map<string, MemberLimits>>()

  readonly joined = (event: HistoryEvent<'joined'>): void => {
    let members = this.#groups.get(event.group)
    if (members === undefined) this.#groups.set(event.group, (members = new Map()))
    members.set(event.member, event)
  }

  limits(group: string, member: string): MemberLimits | undefined {
    return this.#groups.get(group)?.get(member)
  }

  /** Whether a member finishes messages before it hands them out. */
  isAtMostOnce(group: string, member: string): boolean {
    return this.limits(group, member)?.ackMode === 'before'
  }

  ordering(group: string, member: string): MemberLimits['ordering'] {
    return this.limits(group, member)?.ordering ?? 'key'
  }
}
