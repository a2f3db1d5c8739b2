import { linkSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import ts from 'typescript'
import type { PlantedBug } from './bugs.ts'

/** The engine as its own modules, loaded beside all others of the process. */
export interface PlantedEngine {
  readonly testing: typeof import('../../src/testing/index.ts')
  readonly lanemq: typeof import('../../src/index.ts')
  readonly idempotency: typeof import('../../src/idempotency/index.ts')
  /** Where the modules lie. */
  readonly directory: string
  /** Removes them from the disk; what is loaded goes on. */
  remove(): void
}

const root = fileURLToPath(new URL('../..', import.meta.url))
const source = join(root, 'src')
/** Inside the repository, so that packages are found, and ignored by git. */
const cache = join(root, 'node_modules/.cache/lanemq-planted')

/** As tsconfig.json has it; here each file stands for itself. */
const compilerOptions: ts.CompilerOptions = {
  target: ts.ScriptTarget.ES2023,
  module: ts.ModuleKind.ESNext,
  verbatimModuleSyntax: true,
  rewriteRelativeImportExtensions: true,
}

/** Compiled files without a patch, by their path under `src`; filled when the first engine is loaded. */
let compiled: Map<string, string> | undefined
/** Engines whose files are there, with the file that each has patched; an unpatched file is linked, which is quick. */
const present = new Map<string, string | undefined>()
let loaded = 0

/**
 * Loads the engine from a fresh directory, with one bug planted or, to compare with, none. Each call gives modules of its
 * own, so that several engines live in one process.
 */
export async function plantedEngine(bug: PlantedBug | undefined): Promise<PlantedEngine> {
  compiled ??= compileAll()
  const patched = bug && compile(bug.file, patch(readFileSync(join(source, bug.file), 'utf8'), bug))
  const directory = join(cache, `${bug?.name ?? 'none'}-${process.pid}-${++loaded}`)
  const remove = (): void => {
    present.delete(directory)
    rmSync(directory, { recursive: true, force: true })
  }
  mkdirSync(directory, { recursive: true })
  // What lies below node_modules belongs to no package, unless it says so.
  writeFileSync(join(directory, 'package.json'), '{ "type": "module" }')
  const folders = new Set([...compiled.keys()].map((path) => dirname(path)))
  for (const folder of folders) mkdirSync(join(directory, folder), { recursive: true })
  const [other, patchedThere] = [...present][0] ?? []
  for (const [path, text] of compiled) {
    const script = scriptOf(path)
    if (path === bug?.file) writeFileSync(join(directory, script), patched!)
    else if (other === undefined || path === patchedThere) writeFileSync(join(directory, script), text)
    else linkSync(join(other, script), join(directory, script))
  }
  present.set(directory, bug?.file)
  const load = <T>(path: string): Promise<T> => {
    return import(/* @vite-ignore */ pathToFileURL(join(directory, path)).href) as Promise<T>
  }
  try {
    const lanemq = await load<typeof import('../../src/index.ts')>('index.js')
    const testing = await load<typeof import('../../src/testing/index.ts')>('testing/index.js')
    const idempotency = await load<typeof import('../../src/idempotency/index.ts')>('idempotency/index.js')
    return { testing, lanemq, idempotency, directory, remove }
  } catch (error) {
    remove()
    throw error
  }
}

/** The text of a file with a bug planted. @throws when the text to replace is not there exactly once */
export function patch(text: string, { name, file, find, replace }: PlantedBug): string {
  const parts = text.split(find)
  if (parts.length === 2) return parts.join(replace)
  const what = `its text is ${parts.length - 1} times in src/${file}, not once`
  throw new Error(`the planted bug ${name} does not fit: ${what}:\n${find}`)
}

function compileAll(): Map<string, string> {
  const paths = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('.ts'))
  return new Map(paths.map((path) => [path, compile(path, readFileSync(join(source, path), 'utf8'))]))
}

function compile(path: string, text: string): string {
  const { outputText, diagnostics = [] } = ts.transpileModule(text, {
    fileName: path,
    compilerOptions,
    reportDiagnostics: true,
  })
  const [first] = diagnostics
  if (first === undefined) return outputText
  throw new Error(`src/${path} does not compile: ${ts.flattenDiagnosticMessageText(first.messageText, '\n')}`)
}

function scriptOf(path: string): string {
  return `${path.slice(0, -'.ts'.length)}.js`
}
