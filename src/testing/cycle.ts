import { showDuration } from './duration.ts'
import type { HistoryEvent } from './history.ts'

/** The longest cycle of deliveries that is looked for. */
const longestCycle = 32

/** The shortest sequence of deliveries that the last ones repeat: `reminders[0] -> reminders[0] every 1d, 417 times`. */
export function cycleOf(deliveries: readonly HistoryEvent<'deliver'>[]): string | undefined {
  const names = deliveries.map(({ group, topic, partition }) => `${group} ${topic}[${partition}]`)
  for (let length = 1; length <= longestCycle && length * 3 <= names.length; length++) {
    let repeated = 0
    while (isRepeated(names, length, repeated + 1)) repeated++
    if (repeated < 2) continue
    const last = names.slice(-length)
    const times = repeated + 1
    const first = deliveries[deliveries.length - length * times]!
    const elapsed = deliveries.at(-length)!.at - first.at
    return `${[...last, last[0]].join(' -> ')} every ${showDuration(elapsed / repeated)}, ${times} times`
  }
  return undefined
}

/** Whether the `back`-th group of names before the last one is equal to it. */
function isRepeated(names: readonly string[], length: number, back: number): boolean {
  const start = names.length - length * (back + 1)
  if (start < 0) return false
  for (let i = 0; i < length; i++) if (names[start + i] !== names[names.length - length + i]) return false
  return true
}
