import { start } from './lib/child.js'
import { row } from './lib/rows.js'
import { median, percentile } from './lib/statistics.js'
import { copiesOfDist } from './lib/without-seam.js'

export const name = 'seam'
export const measure = 'what the seam for tests costs production'
export const target = '<= 2 %'

const PATHS = {
  one: 'buffered send to handler, one at a time',
  pipelined: 'single sends to handler, pipelined',
  catchUp: 'catch-up of bytes, synchronous handler',
}

/** @param {import('./lib/context.js').Context} context */
export async function run(context) {
  // The third one says what the same code differs from itself.
  const directories = copiesOfDist({ direct: false, seam: true, again: true })
  const names = Object.keys(directories)
  const scale = context.quick ? 0.5 : 1
  const samples = Object.fromEntries(names.map((side) => [side, []]))
  for (let round = 0; round < context.rounds(21); round++) {
    for (let turn = 0; turn < names.length; turn++) {
      const side = names[(round + turn) % names.length]
      // Each in a process of its own: compiled code and heap of one side must not help or harm the other.
      const child = start('seam-side', [JSON.stringify({ directory: directories[side], scale })])
      samples[side].push(await child.message())
    }
  }
  return Object.entries(PATHS).map(([path, what]) => {
    const cost = costs(samples.seam, samples.direct, path)
    const noise = costs(samples.again, samples.seam, path)
    const each = median(samples.direct.map((sample) => sample[path]))
    return row({
      measure: `${measure}: ${what}`,
      unit: '%',
      result: cost,
      target: { of: 'result', atMost: 2 },
      note: `of ${Math.round(each)} ns; half of the rounds within ${middleHalf(cost)}; two equal copies differ by ${median(noise).toFixed(2)} %, half within ${middleHalf(noise)}`,
    })
  })
}

/** By how many percent `slower` is slower, for each round. */
function costs(slower, faster, path) {
  return slower.map((sample, round) => (sample[path] / faster[round][path] - 1) * 100)
}

function middleHalf(samples) {
  return [0.25, 0.75].map((share) => `${percentile(samples, share).toFixed(1)} %`).join(' to ')
}
