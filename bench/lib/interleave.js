/**
 * Measures several sides in turn, round after round, so that a change of the machine's mood hits all of them. One round
 * to warm up is thrown away, and every round starts with another side.
 *
 * Sides whose name begins with `engine` are the ones that a profile is taken of; the others are left out then.
 *
 * @template {string} Side
 * @param {import('./context.js').Context} context
 * @param {Record<Side, () => Promise<number>>} sides each returns one sample
 * @param {number} rounds
 * @returns {Promise<Record<Side, number[]>>}
 */
export async function interleave(context, sides, rounds) {
  const names = Object.keys(sides)
  const samples = Object.fromEntries(names.map((name) => [name, []]))
  for (let round = 0; round <= context.rounds(rounds); round++) {
    for (let turn = 0; turn < names.length; turn++) {
      const name = names[(round + turn) % names.length]
      if (context.profile && !name.startsWith('engine')) continue
      if (context.profile?.side && name !== context.profile.side) continue
      globalThis.gc?.()
      const sample = await sides[name]()
      if (round > 0) samples[name].push(sample)
    }
  }
  return samples
}

/** Seconds that `work` takes. @param {() => unknown} work */
export async function seconds(work) {
  const start = performance.now()
  await work()
  return (performance.now() - start) / 1000
}
