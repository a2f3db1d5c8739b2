import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { posix } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'

/** One parsed file; `path` is relative to the root of the repository, with forward slashes. */
export interface Source {
  readonly path: string
  readonly text: string
  readonly tree: ts.SourceFile
}

/** One `import`, `export ... from` or `import()`; `target` is a path for a file of ours, else the name of a package. */
export interface Import {
  readonly target: string
  readonly node: ts.Node
  readonly isReExport: boolean
}

const root = fileURLToPath(new URL('../..', import.meta.url))
const isCode = (path: string): boolean => /\.[cm]?[jt]s$/.test(path)

export function parse(path: string, text: string): Source {
  return { path, text, tree: ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true) }
}

/** Every code file below the given folders. */
export function readSources(...folders: string[]): Source[] {
  return folders.flatMap((folder) =>
    listFiles(folder)
      .filter(isCode)
      .map((path) => parse(path, readText(path))),
  )
}

/** Every file below a folder, however deep; none when there is no such folder. */
export function listFiles(folder: string): string[] {
  if (!existsSync(posix.join(root, folder))) return []
  return readdirSync(posix.join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => posix.relative(root, posix.join(entry.parentPath, entry.name)))
    .toSorted()
}

export function readText(path: string): string {
  return readFileSync(posix.join(root, path), 'utf8')
}

export function exists(path: string): boolean {
  return existsSync(posix.join(root, path))
}

/** `path:line` of a node, as terminals and editors link it. */
export function placeOf(source: Source, node: ts.Node): string {
  return `${source.path}:${source.tree.getLineAndCharacterOfPosition(node.getStart()).line + 1}`
}

export function* walk(node: ts.Node): Generator<ts.Node> {
  yield node
  for (const child of node.getChildren()) yield* walk(child)
}

export function importsOf(source: Source): Import[] {
  return [...walk(source.tree)].flatMap((node) => {
    const specifier = specifierOf(node)
    if (specifier === undefined) return []
    const target = specifier.startsWith('.') ? posix.join(posix.dirname(source.path), specifier) : specifier
    return [{ target, node, isReExport: ts.isExportDeclaration(node) }]
  })
}

function specifierOf(node: ts.Node): string | undefined {
  if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) return textOf(node.moduleSpecifier)
  if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword)
    return textOf(node.arguments[0])
  if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) return textOf(node.argument.literal)
  return undefined
}

function textOf(node: ts.Node | undefined): string | undefined {
  return node !== undefined && ts.isStringLiteralLike(node) ? node.text : undefined
}
