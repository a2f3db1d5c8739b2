import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const typescript = join(root, 'node_modules/typescript/bin/tsc')

/**
 * Builds `dist/` when a source file is newer than its output, was added or was removed.
 *
 * A type error is printed but ends nothing here: the output is complete, and `npm run types` is what fails on it.
 */
export function ensureBuilt(): void {
  if (!isStale()) return
  spawnSync(process.execPath, [typescript, '-p', 'tsconfig.build.json'], { cwd: root, stdio: 'inherit' })
  const sources = filesBelow('src', '.ts')
  for (const name of filesBelow('dist', '.js').keys()) if (!sources.has(name)) removeOutput(name)
  // Compared by name alone: a source may be saved again while the compiler runs.
  const outputs = filesBelow('dist', '.js')
  const isMissing = (name: string): boolean => !outputs.has(name)
  if ([...sources.keys()].some(isMissing)) throw new Error('dist/ is incomplete: run `npm run build` to see why')
}

/** The name under which vitest runs this file once, before the projects that need `dist/`. */
export const setup: () => void = ensureBuilt

function isStale(): boolean {
  const sources = filesBelow('src', '.ts')
  const outputs = filesBelow('dist', '.js')
  return sources.size !== outputs.size || [...sources].some(([name, at]) => at > (outputs.get(name) ?? -Infinity))
}

/** When each file below `folder` was changed, by its path without the extension. */
function filesBelow(folder: string, extension: string): Map<string, number> {
  const path = join(root, folder)
  if (!existsSync(path)) return new Map()
  const names = readdirSync(path, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith(extension))
  return new Map(names.map((name) => [name.slice(0, -extension.length), statSync(join(path, name)).mtimeMs]))
}

function removeOutput(name: string): void {
  for (const extension of ['.js', '.d.ts']) rmSync(join(root, 'dist', name + extension), { force: true })
}
