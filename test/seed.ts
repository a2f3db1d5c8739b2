import { configureGlobal } from 'fast-check'

const seed = Number(process.env['LANEMQ_SEED'])

/** Once a run: says how to repeat it. */
export function setup(): void {
  console.log(`seed ${seed}: repeat with LANEMQ_SEED=${seed}`)
}

// Once a test file (a setup file runs before it): every property of the run starts from the same number.
configureGlobal({ seed })
