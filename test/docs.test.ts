import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { describe, expect, test } from 'vitest'
import { testErrorCodes } from '../src/testing/test-error.ts'
import { blocksOf, type Block } from './documents/blocks.ts'
import { filledIn, inProject, outcomeOf, passed, root, success, type Outcome } from './documents/program.ts'

const pages = ['README.md', 'ARCHITECTURE.md', ...listPages('docs')]
const blocks = pages.filter(isThere).flatMap((page) => blocksOf(page, readFileSync(join(root, page), 'utf8')))

describe('the code that the pages show', () => {
  for (const block of blocks.filter(({ runner }) => runner === 'node'))
    test(`${block.page}:${block.line} prints what it says`, () => {
      const outcome = run(block)
      expect(outcome).toEqual(success(filledIn(block.prints, outcome)))
    })

  for (const block of blocks.filter(({ runner }) => runner !== 'node'))
    test(`${block.page}:${block.line} passes under ${block.runner}`, () => {
      expect(run(block)).toMatchObject({ ended: 'code 0', printed: expect.arrayContaining([passed]) as unknown })
    })

  test('type-checks', () => {
    expect(inProject((directory) => typeErrors(directory, blocks))).toEqual([])
  })
})

test('the guide to testing explains every code of a TestError, with its meaning', () => {
  const guide = readFileSync(join(root, 'docs/testing.md'), 'utf8')
  const rows = [...guide.matchAll(/^\| `(?<code>[A-Z_]+)` +\| (?<meaning>.*?) +\| \S/gm)].map(({ groups }) => groups!)
  expect(Object.fromEntries(rows.map(({ code, meaning }) => [code, meaning]))).toEqual(testErrorCodes)
})

describe('the check of the pages', () => {
  const page = [
    '# Page',
    '<!-- before: const two: number = 2 -->',
    '```ts',
    'console.log(two) // => 2',
    '// =>',
    'console.log()',
    'console.log("end") // => end',
    '```',
    '```js no-run',
    'throw new Error("never run")',
    '```',
    '```sh',
    'npm install lanemq',
    '```',
  ].join('\n')

  test('runs a block after what stands hidden above it', () => {
    const [block, ...others] = blocksOf('page.md', page)
    expect(others).toEqual([])
    expect(block).toMatchObject({ page: 'page.md', line: 4, language: 'ts', prints: ['2', '', 'end'] })
    expect(run(block!)).toEqual(success(['2', '', 'end']))
  })

  test('lets a block import an earlier one, and takes the text below it for its output', () => {
    const [file, block] = blocksOf(
      'page.md',
      [
        ...['```js file=two.js', 'export const two = 2', '```'],
        ...[
          '```js',
          'import { two } from "./two.js"',
          'console.log(`${two}\\nin 7 ms`)',
          '```',
          '',
          '```text',
          '2',
          'in … ms',
          '```',
        ],
      ].join('\n'),
    )
    expect(block).toMatchObject({ files: [file], prints: ['2', 'in … ms'] })
    const outcome = run(block!)
    expect(outcome).toEqual(success(['2', 'in 7 ms']))
    expect(filledIn(block!.prints, outcome)).toEqual(['2', 'in 7 ms'])
    expect(filledIn(['3', 'in … s'], outcome)).toEqual(['3', 'in … s'])
  })

  test('sees the output, the end and the types of a block', () => {
    const blockOf = (code: string): Block => blocksOf('page.md', `\`\`\`ts\n${code}\n\`\`\``)[0]!
    expect(run(blockOf('console.log(1) // => 2'))).toEqual(success(['1']))
    expect(run(blockOf('process.exitCode = 3'))).toMatchObject({ ended: 'code 3' })
    expect(run(blockOf('await import("lanemq/nowhere")')).stderr).toContain('ERR_PACKAGE_PATH_NOT_EXPORTED')
    expect(
      run(blocksOf('page.md', '```js node:test\nimport "node:test"\nawait import("node:nothing")\n```')[0]!),
    ).toMatchObject({ ended: 'code 1' })
    expect(inProject((directory) => typeErrors(directory, [blockOf('\nexport const a: string = 1')]))).toEqual([
      "page.md:3 Type 'number' is not assignable to type 'string'.",
    ])
  })
})

function run(block: Block): Outcome {
  return inProject((directory) => {
    for (const file of block.files) writeFileSync(join(directory, file.file!), programOf(file))
    if (block.runner === 'vitest' || block.runner === 'jest') {
      writeFileSync(join(directory, 'block.test.js'), programOf(block))
      // Jest has its functions in the global scope; what a page shows for it needs no more than that.
      const more = block.runner === 'jest' ? ['--globals'] : []
      return outcomeOf(join(root, 'node_modules/vitest/vitest.mjs'), directory, ['run', '--root', directory, ...more])
    }
    writeFileSync(join(directory, 'block.js'), programOf(block))
    return outcomeOf('block.js', directory)
  })
}

function programOf({ language, setup, code }: Block): string {
  const { ES2023, ESNext } = { ...ts.ScriptTarget, ...ts.ModuleKind }
  const compilerOptions = { target: ES2023, module: ESNext, verbatimModuleSyntax: true }
  const source = `${setup}\n${code}`
  return language === 'ts' ? ts.transpileModule(source, { compilerOptions }).outputText : source
}

/** Checks all blocks in one compilation, as a user's strict project would. */
function typeErrors(directory: string, all: Block[]): string[] {
  const blockOf = new Map<string, Block>()
  for (const [index, block] of all.entries()) {
    if (block.language !== 'ts') continue
    const file = join(directory, `block-${index}.ts`)
    writeFileSync(file, `${block.setup}\n${block.code}\nexport {}\n`)
    blockOf.set(file, block)
  }
  const program = ts.createProgram([...blockOf.keys()], {
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    target: ts.ScriptTarget.ES2023,
    module: ts.ModuleKind.NodeNext,
    lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts'],
    types: ['node'],
    typeRoots: [join(root, 'node_modules/@types')],
  })
  return ts.getPreEmitDiagnostics(program).map(({ file, start = 0, messageText }) => {
    const message = ts.flattenDiagnosticMessageText(messageText, '\n')
    const block = file && blockOf.get(file.fileName)
    if (!block) return `${file?.fileName ?? ''} ${message}`
    const line = file.getLineAndCharacterOfPosition(start).line + block.line - block.setup.split('\n').length
    return `${block.page}:${line} ${message}`
  })
}

function listPages(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md') && !name.startsWith('api'))
    .map((name) => `${folder}/${name}`)
}

function isThere(page: string): boolean {
  return readdirSync(root).includes(page) || page.includes('/')
}
