import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { printsOf } from '../documents/blocks.ts'
import { outcomeOf, success } from '../documents/program.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const { exports, dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  exports: Record<string, string | { default: string }>
  dependencies: Record<string, string>
}
const faces = Object.entries(exports)
  .filter(([, target]) => typeof target === 'object')
  .map(([subpath]) => subpath.replace('.', 'lanemq'))
  // These two belong to a test runner, which a user of the package need not have.
  .filter((face) => !/\/testing\/(vitest|jest)$/.test(face))

/** The types of every face resolve, and a wrong use of one does not compile. */
const consumer = `
  ${faces.map((face, index) => `import * as face${index} from '${face}'`).join('\n  ')}
  import { open } from 'lanemq'
  type Options = Parameters<typeof open>[0]
  export const right: Options = { path: './data' }
  // @ts-expect-error the name of an option is checked
  export const wrong: Options = { path: './data', onFul: 'wait' }
  export const faces: object[] = [${faces.map((_, index) => `face${index}`).join(', ')}]
`

/** A user's project into which the packed tarball is installed, as npm would install a release. */
let project = ''
let packed: string[] = []

beforeAll(() => {
  project = mkdtempSync(join(tmpdir(), 'lanemq-package-'))
  const [pack] = JSON.parse(npm(root, 'pack', '--ignore-scripts', '--json', '--pack-destination', project)) as [
    { filename: string; files: { path: string }[] },
  ]
  packed = pack.files.map(({ path }) => path)
  writeFileSync(join(project, 'package.json'), '{ "type": "module", "private": true }')
  npm(project, 'install', '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund', `./${pack.filename}`)
}, 180_000)
afterAll(() => rmSync(project, { recursive: true, force: true }))

describe('the packed tarball', () => {
  test('holds the build and the pages for users, and nothing else', () => {
    const own = ['package.json', 'README.md', 'LICENSE', 'CHANGELOG.md', 'docs/guarantees.md']
    const rest = packed.filter((path) => !own.includes(path))
    expect(rest.filter((path) => !/^dist\/.+\.(js|d\.ts)$/.test(path))).toEqual([])
    expect(own.filter((path) => !packed.includes(path))).toEqual([])
  })

  test('holds what every entry of `exports` points to', () => {
    const targets = Object.values(exports).flatMap((entry) =>
      typeof entry === 'string' ? entry : Object.values(entry),
    )
    expect(targets.filter((target) => !packed.includes(target.slice(2)))).toEqual([])
  })

  test('installs no package beside the declared ones and what they need', () => {
    expect(Object.keys(dependencies).filter((name) => !existsSync(join(project, 'node_modules', name)))).toEqual([])
    expect(existsSync(join(project, 'node_modules/typescript'))).toBe(false)
  })

  test('has no mistake that publint knows', () => {
    const publint = join(root, 'node_modules/publint/src/cli.js')
    const checked = outcomeOf(publint, project, ['node_modules/lanemq', '--strict', '--pack=false'])
    expect(checked.ended, [...checked.printed, checked.stderr].join('\n')).toBe('code 0')
  })
})

describe.each(faces)('%s', (face) => {
  test('is the same module by import and by require', () => {
    const program = `
      import { createRequire } from 'node:module'
      process.removeAllListeners('warning') // Node.js 20 warns that require() of a module is new.
      const required = createRequire(import.meta.url)('${face}')
      console.log(Object.keys(required).length > 0, required === (await import('${face}')))`
    expect(outcome('both.js', program)).toEqual(success(['true true']))
  })
})

describe('an installed package', () => {
  test.each(['nodenext', 'bundler'])('has types under module resolution %s', (resolution) => {
    writeFileSync(join(project, 'consumer.ts'), consumer)
    const module = resolution === 'bundler' ? 'esnext' : 'nodenext'
    const options = `--noEmit --strict --target es2023 --lib es2023,esnext.disposable --types node --module ${module}`
    const places = ['--moduleResolution', resolution, '--typeRoots', join(root, 'node_modules/@types'), 'consumer.ts']
    const typescript = join(root, 'node_modules/typescript/bin/tsc')
    const checked = outcomeOf(typescript, project, [...options.split(' '), ...places])
    expect(checked).toEqual(success([]))
  })

  test('loads the native store only when a path is opened', () => {
    const program = `
      import { open, openInMemory } from 'lanemq'
      const isLoaded = () => process.report.getReport().sharedObjects.some((name) => name.includes('lmdb'))
      const memory = await openInMemory()
      console.log('memory', isLoaded())
      const disk = await open({ path: './data' })
      console.log('disk', isLoaded())
      await Promise.all([memory.close(), disk.close()])`
    expect(outcome('lazy.js', program)).toEqual(success(['memory false', 'disk true']))
  })

  test('gives vitest, where that is installed, its matchers and its fixture', () => {
    symlinkSync(join(root, 'node_modules/vitest'), join(project, 'node_modules/vitest'))
    const program = `
      import { expect } from 'vitest'
      import { test } from 'lanemq/testing/vitest'
      test('a message is published', async ({ openTest }) => {
        const t = await openTest({ wire: (mq) => mq.topic('orders') })
        await t.send('orders', { key: 'o-1', value: 1 })
        expect(t).toHavePublished('orders', { key: 'o-1' })
        expect(t).not.toHavePublished('orders', { key: 'o-2' })
      })`
    writeFileSync(join(project, 'face.test.js'), program)
    const vitest = join(root, 'node_modules/vitest/vitest.mjs')
    const ran = outcomeOf(vitest, project, ['run', '--root', project, '--reporter=json', 'face.test.js'])
    expect(ran.ended, [...ran.printed, ran.stderr].join('\n')).toBe('code 0')
    expect(ran.printed.join('')).toContain('"numPassedTests":1')
  })

  test('runs the first example', () => {
    const example = readFileSync(join(root, 'examples/hello.js'), 'utf8')
    expect(outcome('hello.js', example)).toEqual(success(printsOf(example)))
  })
})

function outcome(name: string, program: string): ReturnType<typeof outcomeOf> {
  writeFileSync(join(project, name), program)
  return outcomeOf(name, project)
}

function npm(cwd: string, ...parameters: string[]): string {
  return execFileSync('npm', parameters, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}
