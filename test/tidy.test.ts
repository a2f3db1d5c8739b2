import { describe, expect, test } from 'vitest'
import { projects } from '../vitest.config.ts'
import { compareGuarantees } from './tidy/guarantees.ts'
import * as rules from './tidy/rules.ts'
import { exists, listFiles, parse, readSources, readText, type Source } from './tidy/source.ts'

/** Uses of the outside world that no simulation has to control, each with its reason. */
const allowances: rules.Allowance[] = [
  { path: 'src/storage/owner-lock.ts', name: 'process.pid', why: 'the lock tells others which process holds it' },
  { path: 'src/storage/owner-lock.ts', name: 'process.platform', why: 'sockets have other paths on Windows' },
]

/** Files that may be longer than a sitting, each with its reason. */
const longer: Record<string, string> = {}

const { dependencies, peerDependencies } = JSON.parse(readText('package.json')) as Record<
  'dependencies' | 'peerDependencies',
  Record<string, string>
>
// Clients of servers are passed in by the user: of the peers only the test runner is imported.
const imported = [...Object.keys(dependencies), ...Object.keys(peerDependencies).filter((name) => name === 'vitest')]
const src = readSources('src')
const code = [...src, ...readSources('test', 'examples', 'bench')]

// Put together, so that this file does not contain what it forbids.
const marker = ['TO', 'DO'].join('')

/** Each rule, the files it looks at, and an offence that it must find: a rule that finds nothing proves nothing. */
const checks: { title: string; rule: rules.Rule; sources: Source[]; planted: [string, string][]; found: string[] }[] = [
  {
    title: 'imports point from the faces down to the ground',
    rule: rules.importsPointDown,
    sources: src,
    planted: [
      ['src/log/tail.ts', `import type { A } from '../message.ts'\nimport { b } from '../groups/progress.ts'`],
      ['src/client/topic.ts', `const { b } = await import('../embedded/embedded-broker.ts')`],
      ['src/message.ts', `export type C = import('./contracts/broker.ts').C`],
      ['src/open.ts', `import { d } from './testing/index.ts'`],
      ['src/attic/old.ts', ``],
    ],
    found: [
      `src/log/tail.ts:2 'log' may not import 'groups' (src/groups/progress.ts)`,
      `src/client/topic.ts:1 'client' may not import 'embedded' (src/embedded/embedded-broker.ts)`,
      `src/message.ts:1 'ground' may not import 'contracts' (src/contracts/broker.ts)`,
      `src/open.ts:1 'face' may not import 'testing' (src/testing/index.ts)`,
      `src/attic/old.ts:1 lies in the room 'attic', which the table does not know`,
    ],
  },
  {
    title: 'no file imports itself through others',
    rule: rules.noCycles,
    sources: src,
    planted: [
      ['src/log/a.ts', `import { b } from './b.ts'`],
      ['src/log/b.ts', `import type { C } from './c.ts'`],
      ['src/log/c.ts', `export const c = () => import('./a.ts')`],
    ],
    found: ['src/log/a.ts:1 imports itself: src/log/a.ts -> src/log/b.ts -> src/log/c.ts -> src/log/a.ts'],
  },
  {
    title: 'time, chance and deferral come through the runtime',
    rule: rules.onlyTheRuntime(allowances),
    sources: src,
    planted: [
      ['src/runtime/real-runtime.ts', `export const now = () => Date.now()`],
      [
        'src/log/tail.ts',
        [
          `import { setTimeout as sleep } from 'node:timers/promises'`,
          `export const from = (when: Date | number) => (when instanceof Date ? when.getTime() : when)`,
          `export const at = new Date(Date.now())`,
          `export const timer = globalThis.setTimeout(() => queueMicrotask(run), Math.random())`,
          `export const own = { performance: 1, process() {} }.performance`,
          `export const signal = AbortSignal.timeout(5)`,
          `export const { pid } = process`,
        ].join('\n'),
      ],
    ],
    found: [
      'src/log/tail.ts:1 uses node:timers/promises: go through the runtime',
      'src/log/tail.ts:3 uses Date: go through the runtime',
      'src/log/tail.ts:3 uses Date.now: go through the runtime',
      'src/log/tail.ts:4 uses setTimeout: go through the runtime',
      'src/log/tail.ts:4 uses queueMicrotask: go through the runtime',
      'src/log/tail.ts:4 uses Math.random: go through the runtime',
      'src/log/tail.ts:6 uses AbortSignal.timeout: go through the runtime',
      'src/log/tail.ts:7 uses process: go through the runtime',
      ...allowances.map(({ path, name }) => `${path}:1 does not use ${name} any more: remove its allowance`),
    ],
  },
  {
    title: 'packages are declared, used, and lmdb stays in its driver',
    rule: rules.packagesAreDeclared(imported),
    sources: src,
    planted: [
      ['src/open.ts', `import { open } from 'lmdb'\nimport { Kafka } from 'kafkajs'\nimport fs from 'node:fs'`],
      ['src/storage/lmdb-storage.ts', `const lmdb = await import('lmdb')`],
    ],
    found: [
      `src/open.ts:2 imports 'kafkajs', which package.json does not list`,
      `src/open.ts:1 imports 'lmdb' outside src/storage`,
      ...imported.filter((name) => name !== 'lmdb').map((name) => `package.json:1 nothing imports '${name}'`),
    ],
  },
  {
    title: 'every export has a name',
    rule: rules.noDefaultExports,
    sources: code,
    planted: [
      ['src/log/a.ts', `switch (a) {\n  default:\n}\nexport default class A {}`],
      ['src/log/b.ts', `export default 1`],
      ['src/log/c.ts', `export { c as default }`],
    ],
    found: [
      'src/log/a.ts:4 has a default export: name it',
      'src/log/b.ts:1 has a default export: name it',
      'src/log/c.ts:1 has a default export: name it',
    ],
  },
  {
    title: 'only the faces pass names on',
    rule: rules.onlyFacesReExport,
    sources: src,
    planted: [
      ['src/index.ts', `export { A } from './a.ts'`],
      ['src/log/b.ts', `export * from './a.ts'`],
    ],
    found: [`src/log/b.ts:1 passes on another file's names`],
  },
  {
    title: 'files are named after what they are about',
    rule: rules.namesSaySomething,
    sources: code,
    planted: [
      ['src/log/log-utils.ts', ''],
      ['test/helpers.ts', ''],
      ['src/log/PartitionLog.ts', ''],
      ['src/log/partition-log.ts', ''],
    ],
    found: [
      'src/log/log-utils.ts:1 is named after nothing: use the noun it is about, in kebab-case',
      'test/helpers.ts:1 is named after nothing: use the noun it is about, in kebab-case',
      'src/log/PartitionLog.ts:1 is named after nothing: use the noun it is about, in kebab-case',
    ],
  },
  {
    title: 'nothing is left to be done later',
    rule: rules.nothingLeftOver,
    sources: [...code, ...listFiles('docs').filter(isProse).map(asSource)],
    planted: [['src/log/a.ts', `export const a = 1\n// ${marker}: finish`]],
    found: [`src/log/a.ts:2 leaves work behind: // ${marker}: finish`],
  },
  {
    title: 'a file can be read in one sitting',
    rule: rules.shortFiles(longer),
    sources: src,
    planted: [['src/log/a.ts', '\n'.repeat(rules.maxLines) + 'export {}']],
    found: [
      'src/log/a.ts:401 goes beyond 400 lines: move a decision into a module of its own',
      ...Object.keys(longer).map((path) => `${path}:1 has 400 lines or fewer again: remove it from the list`),
    ],
  },
  {
    title: 'every source file is imported by another',
    rule: rules.noDeadFiles,
    sources: src,
    planted: [
      ['src/index.ts', `export { a } from './log/a.ts'`],
      ['src/log/a.ts', ''],
      ['src/log/b.ts', ''],
      ['src/testing/index.ts', ''],
    ],
    found: ['src/log/b.ts:1 is imported by nobody'],
  },
]

for (const { title, rule, sources, planted, found } of checks) {
  describe(title, () => {
    test('holds', () => {
      expect(rule(sources)).toEqual([])
    })
    test('is noticed when broken', () => {
      expect(rule(planted.map(([path, text]) => parse(path, text)))).toEqual(found)
    })
  })
}

test('every test file belongs to a project, or nobody would run it', () => {
  const places = projects.flatMap(({ test: project }) => project?.include ?? [])
  const isRun = (path: string): boolean => places.some((place) => path.startsWith(place.replace('**/*.test.ts', '')))
  const tests = listFiles('test').filter((path) => /\.(test|spec)\.[cm]?[jt]s$/.test(path))
  expect(tests.filter((path) => !isRun(path) || !path.endsWith('.test.ts'))).toEqual([])
})

describe('guarantees and test titles name each other', () => {
  test('holds', () => {
    const tests = readSources('test', 'src/testing').filter(({ path }) => !path.startsWith('test/tidy'))
    expect(compareGuarantees(exists('docs/guarantees.md') ? readText('docs/guarantees.md') : '', tests)).toEqual([])
  })
  test('is noticed when broken', () => {
    const document = '| id | promise |\n| DURA-1 | a |\n| DURA-2 | b |\n| LOSS-1 | c, not tested |\n### DURA-1: again'
    const titles = `test('DURA-1, ORDER-7: both', run)\nsuite.test(\`ORDER-8: \${name}\`, run)\nnew TextDecoder('UTF-8')`
    expect(compareGuarantees(document, [parse('test/a.test.ts', titles)])).toEqual([
      'docs/guarantees.md:5 defines DURA-1 a second time',
      'docs/guarantees.md:3 promises DURA-2, but no test title begins with it',
      'test/a.test.ts:1 proves ORDER-7, which docs/guarantees.md does not promise',
      'test/a.test.ts:2 proves ORDER-8, which docs/guarantees.md does not promise',
    ])
  })
})

function isProse(path: string): boolean {
  return path.endsWith('.md') && !path.startsWith('docs/api/')
}

function asSource(path: string): Source {
  return parse(path, readText(path))
}
