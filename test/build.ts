import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const typescript = join(root, 'node_modules/typescript/bin/tsc')

/** Builds `dist/` when a source file is newer than its output, was added or was removed. */
export function ensureBuilt(): void {
  if (!isStale()) return
  rmSync(join(root, 'dist'), { recursive: true, force: true })
  execFileSync(process.execPath, [typescript, '-p', 'tsconfig.build.json'], { cwd: root, stdio: 'inherit' })
}

/** The name under which vitest runs this file once, before the projects that need `dist/`. */
export const setup: () => void = ensureBuilt

function isStale(): boolean {
  const sources = modifiedAt('src', '.ts')
  const outputs = modifiedAt('dist', '.js')
  const isNewer = ([name, at]: [string, number]): boolean => at > (outputs.get(name) ?? -Infinity)
  return sources.size !== outputs.size || [...sources].some(isNewer)
}

/** When each file below `folder` was changed, by its path without the extension. */
function modifiedAt(folder: string, extension: string): Map<string, number> {
  const path = join(root, folder)
  if (!existsSync(path)) return new Map()
  const names = readdirSync(path, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith(extension))
  return new Map(names.map((name) => [name.slice(0, -extension.length), statSync(join(path, name)).mtimeMs]))
}
