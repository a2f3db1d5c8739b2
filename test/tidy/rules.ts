import { posix } from 'node:path'
import ts from 'typescript'
import { importsOf, placeOf, walk, type Source } from './source.ts'

/** A rule looks at all files at once and says `path:line what is wrong` of each offence. */
export type Rule = (sources: readonly Source[]) => string[]

/** An exception that was thought about; one that nobody needs any more is an offence as well. */
export interface Allowance {
  readonly path: string
  readonly name: string
  readonly why: string
}

const ground = ['ground', 'runtime']
const engine = [...ground, 'contracts']
const everythingBelow = [
  ...engine,
  'log',
  'groups',
  'state',
  'storage',
  'dispatch',
  'idempotency',
  'kafka',
  'embedded',
  'client',
]

/** Which rooms a room may import, beside itself. */
export const rooms: Readonly<Record<string, readonly string[]>> = {
  ground: ['runtime'],
  runtime: ['ground'],
  contracts: ground,
  log: engine,
  groups: engine,
  state: engine,
  storage: engine,
  dispatch: engine,
  idempotency: engine,
  kafka: engine,
  embedded: [...engine, 'log', 'groups', 'state'],
  client: [...engine, 'dispatch'],
  face: everythingBelow,
  testing: [...everythingBelow, 'face'],
}

/** The files that tie the rooms together; all others directly in `src/` are the ground. */
const faces = ['src/index.ts', 'src/open.ts']

/** The files through which users come in: the targets of `exports` in package.json. */
const entryPoint = /^src\/((\w+\/)?index|testing\/(vitest|jest))\.ts$/

export function roomOf(path: string): string {
  if (faces.includes(path)) return 'face'
  return path.split('/').length === 2 ? 'ground' : (path.split('/')[1] ?? '')
}

export const importsPointDown: Rule = (sources) =>
  sources.flatMap((source) => {
    const room = roomOf(source.path)
    const allowed = rooms[room]
    if (allowed === undefined) return [`${source.path}:1 lies in the room '${room}', which the table does not know`]
    return importsOf(source)
      .filter(({ target }) => target.startsWith('src/'))
      .filter(({ target }) => roomOf(target) !== room && !allowed.includes(roomOf(target)))
      .map(({ target, node }) => `${placeOf(source, node)} '${room}' may not import '${roomOf(target)}' (${target})`)
  })

export const noCycles: Rule = (sources) => {
  const targets = new Map(sources.map((source) => [source.path, importsOf(source).map(({ target }) => target)]))
  const done = new Set<string>()
  const cycles: string[] = []
  const visit = (path: string, trail: string[]): void => {
    if (trail.includes(path)) {
      cycles.push(`${path}:1 imports itself: ${[...trail.slice(trail.indexOf(path)), path].join(' -> ')}`)
      return
    }
    if (done.has(path)) return
    for (const target of targets.get(path) ?? []) visit(target, [...trail, path])
    done.add(path)
  }
  for (const path of targets.keys()) visit(path, [])
  return cycles
}

const bannedGlobals = new Set(
  (
    'Date performance process setTimeout setInterval setImmediate queueMicrotask ' +
    'crypto randomUUID randomBytes randomInt'
  ).split(' '),
)
const bannedMembers = new Set(['Math.random', 'AbortSignal.timeout'])
const bannedModules = /^(node:)?(timers(\/promises)?|perf_hooks|process)$/

/** The engine's door to the real world, and that of the testing kit around it. */
const realDoors = ['src/runtime/real-runtime.ts', 'src/testing/real-loop.ts']

/** Time, chance and deferral come through the runtime alone, or no simulation could repeat a run. */
export function onlyTheRuntime(allowances: readonly Allowance[]): Rule {
  return (sources) => {
    const seen = sources
      .filter(({ path }) => !realDoors.includes(path))
      .flatMap((source) =>
        [...walk(source.tree)].flatMap((node) => {
          const name = bannedName(node)
          return name === undefined ? [] : [{ path: source.path, place: placeOf(source, node), name }]
        }),
      )
    const matches = (use: { path: string; name: string }, one: Allowance): boolean =>
      use.path === one.path && use.name === one.name
    return [
      ...seen
        .filter((use) => !allowances.some((one) => matches(use, one)))
        .map(({ place, name }) => `${place} uses ${name}: go through the runtime`),
      ...allowances
        .filter((one) => !seen.some((use) => matches(use, one)))
        .map(({ path, name }) => `${path}:1 does not use ${name} any more: remove its allowance`),
    ]
  }
}

function bannedName(node: ts.Node): string | undefined {
  if (ts.isImportDeclaration(node) && ts.isStringLiteral(node.moduleSpecifier)) {
    return bannedModules.test(node.moduleSpecifier.text) ? node.moduleSpecifier.text : undefined
  }
  if (ts.isPropertyAccessExpression(node)) return bannedMembers.has(node.getText()) ? node.getText() : undefined
  if (!ts.isIdentifier(node) || !bannedGlobals.has(node.text) || !isGlobalUse(node)) return undefined
  const { parent } = node
  return ts.isPropertyAccessExpression(parent) && parent.expression === node ? parent.getText() : node.text
}

/** Whether an identifier reads a global: not a name that is being declared, a type, or a member of something else. */
function isGlobalUse(node: ts.Identifier): boolean {
  const { parent } = node
  if (ts.isPropertyAccessExpression(parent) && parent.name === node)
    return /^global(This)?$/.test(parent.expression.getText())
  if (ts.isBinaryExpression(parent) && parent.operatorToken.kind === ts.SyntaxKind.InstanceOfKeyword) return false
  if (ts.isTypeReferenceNode(parent) || ts.isImportSpecifier(parent) || ts.isBindingElement(parent)) return false
  return !('name' in parent && parent.name === node) || ts.isShorthandPropertyAssignment(parent)
}

/** The native store is loaded by its driver alone, and nothing is imported that a user would not have installed. */
export function packagesAreDeclared(dependencies: readonly string[]): Rule {
  return (sources) => {
    const imports = sources.flatMap((source) =>
      importsOf(source)
        .filter(({ target }) => !target.startsWith('src/') && !target.startsWith('node:'))
        .map(({ target, node }) => ({ target, room: roomOf(source.path), place: placeOf(source, node) })),
    )
    const used = imports.map(({ target }) => target)
    return [
      ...imports
        .filter(({ target }) => !dependencies.includes(target))
        .map(({ target, place }) => `${place} imports '${target}', which package.json does not list`),
      ...imports
        .filter(({ target, room }) => target === 'lmdb' && room !== 'storage')
        .map(({ place }) => `${place} imports 'lmdb' outside src/storage`),
      ...dependencies.filter((one) => !used.includes(one)).map((one) => `package.json:1 nothing imports '${one}'`),
    ]
  }
}

export const noDefaultExports: Rule = (sources) =>
  sources.flatMap((source) =>
    [...walk(source.tree)]
      .filter((node) => isDefaultModifier(node) || (ts.isExportSpecifier(node) && node.name.text === 'default'))
      .map((node) => `${placeOf(source, node)} has a default export: name it`),
  )

function isDefaultModifier(node: ts.Node): boolean {
  return node.kind === ts.SyntaxKind.DefaultKeyword && !ts.isDefaultClause(node.parent)
}

/** A second way to reach a name hides where it lives, so only the faces pass names on. */
export const onlyFacesReExport: Rule = (sources) =>
  sources
    .filter(({ path }) => !entryPoint.test(path))
    .flatMap((source) =>
      importsOf(source)
        .filter(({ isReExport }) => isReExport)
        .map(({ node }) => `${placeOf(source, node)} passes on another file's names`),
    )

const vagueName = /^(.*-)?(utils?|helpers?|managers?|misc|common|shared|stuff)\.[cm]?[jt]s$/

export const namesSaySomething: Rule = (sources) =>
  sources
    .filter(({ path }) => vagueName.test(posix.basename(path)) || !/^[a-z0-9.-]+$/.test(posix.basename(path)))
    .map(({ path }) => `${path}:1 is named after nothing: use the noun it is about, in kebab-case`)

// Written apart, so that this file does not contain what it forbids.
const leftover = new RegExp(String.raw`\b(TO DO|FIX ME|XX X|HA CK)\b`.replaceAll(' ', ''))

export const nothingLeftOver: Rule = (sources) =>
  sources.flatMap(({ path, text }) =>
    text
      .split('\n')
      .map((line, index) => ({ line, place: `${path}:${index + 1}` }))
      .filter(({ line }) => leftover.test(line))
      .map(({ line, place }) => `${place} leaves work behind: ${line.trim()}`),
  )

export const maxLines = 400

/** A file is read in one sitting; the longer ones are listed, with the reason. */
export function shortFiles(longer: Readonly<Record<string, string>>): Rule {
  return (sources) => {
    const isLong = ({ text }: Source): boolean => text.trimEnd().split('\n').length > maxLines
    return [
      ...sources
        .filter((source) => isLong(source) && longer[source.path] === undefined)
        .map(
          ({ path }) =>
            `${path}:${maxLines + 1} goes beyond ${maxLines} lines: move a decision into a module of its own`,
        ),
      ...Object.keys(longer)
        .filter((path) => !sources.some((source) => source.path === path && isLong(source)))
        .map((path) => `${path}:1 has ${maxLines} lines or fewer again: remove it from the list`),
    ]
  }
}

export const noDeadFiles: Rule = (sources) => {
  const imported = new Set(sources.flatMap((source) => importsOf(source).map(({ target }) => target)))
  return sources
    .filter(({ path }) => !imported.has(path) && !entryPoint.test(path))
    .map(({ path }) => `${path}:1 is imported by nobody`)
}
