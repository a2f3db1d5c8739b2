/** A partition of a topic, as assignment sees it. */
export interface Slot {
  readonly id: number
  /** The member that has it now, if any. */
  readonly owner: string | undefined
}

/**
 * Which member each partition should belong to: as even as can be, moving no more than that needs.
 *
 * Pure and deterministic: members in the order they joined, partitions in the order given. Members beyond the number of
 * partitions get none.
 *
 * @remarks Semantics: Kafka's `uniform` assignor (KIP-848), which is sticky too; a partition is granted only after its old
 * owner released it.
 */
export function assign(slots: readonly Slot[], members: readonly string[]): Map<number, string> {
  const target = new Map<number, string>()
  if (members.length === 0) return target
  const share = Math.floor(slots.length / members.length)
  let extra = slots.length % members.length
  const held = new Map<string, number[]>(members.map((member) => [member, []]))
  for (const slot of slots) if (slot.owner !== undefined) held.get(slot.owner)?.push(slot.id)
  // Members that hold more than the even share come first to the few that may keep one more.
  const quota = new Map<string, number>()
  for (const member of [...members].sort((a, b) => held.get(b)!.length - held.get(a)!.length)) {
    quota.set(member, share + (extra > 0 ? 1 : 0))
    if (extra > 0) extra--
  }
  for (const member of members) {
    for (const id of held.get(member)!.slice(0, quota.get(member)!)) target.set(id, member)
  }
  const count = new Map<string, number>(members.map((member) => [member, 0]))
  for (const member of target.values()) count.set(member, count.get(member)! + 1)
  for (const slot of slots) {
    if (target.has(slot.id)) continue
    const member = members.find((candidate) => count.get(candidate)! < quota.get(candidate)!)!
    target.set(slot.id, member)
    count.set(member, count.get(member)! + 1)
  }
  return target
}
