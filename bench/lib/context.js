import { mkdtempSync } from 'node:fs'
import { join } from 'node:path'

/**
 * What a bench is told about the run it is part of.
 *
 * @typedef {object} Context
 * @property {boolean} quick a short look instead of a measurement
 * @property {{ side?: string } | undefined} profile leave out the raw limits, because a profile is taken of the engine
 * @property {(usual: number) => number} rounds how many rounds to measure where a bench usually does `usual`
 * @property {(name: string) => string} directory an empty directory that is removed when the bench ends
 */

/** @param {{ quick: boolean, runs: number | undefined, profile?: { side?: string }, root: string }} options @returns {Context} */
export function createContext({ quick, runs, profile, root }) {
  return {
    quick,
    profile,
    rounds: (usual) => runs ?? (quick ? Math.min(2, usual) : usual),
    directory: (name) => mkdtempSync(join(root, `${name}-`)),
  }
}
