/**
 * Settings of a property: the seed of the run (printed when it fails; `FC_SEED` or `LANEMQ_SEED` repeats it), and `few`
 * runs unless `LANEMQ_RUNS` asks for another number.
 */
export function runs(few: number): { seed: number; numRuns: number } {
  const seed = Number(process.env['FC_SEED'] ?? process.env['LANEMQ_SEED'] ?? 1)
  return { seed, numRuns: Number(process.env['LANEMQ_RUNS'] ?? few) }
}
