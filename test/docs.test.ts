import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { describe, expect, test } from 'vitest'
import { blocksOf, type Block } from './documents/blocks.ts'
import { inProject, outcomeOf, root, success, type Outcome } from './documents/program.ts'

const pages = ['README.md', 'ARCHITECTURE.md', ...listPages('docs')]
const blocks = pages.filter(isThere).flatMap((page) => blocksOf(page, readFileSync(join(root, page), 'utf8')))

describe('the code that the pages show', () => {
  for (const block of blocks)
    test(`${block.page}:${block.line} prints what it says`, () => expect(run(block)).toEqual(success(block.prints)))

  test('type-checks', () => {
    expect(inProject((directory) => typeErrors(directory, blocks))).toEqual([])
  })
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

  test('sees the output, the end and the types of a block', () => {
    const blockOf = (code: string): Block => blocksOf('page.md', `\`\`\`ts\n${code}\n\`\`\``)[0]!
    expect(run(blockOf('console.log(1) // => 2'))).toEqual(success(['1']))
    expect(run(blockOf('process.exitCode = 3'))).toMatchObject({ ended: 'code 3' })
    expect(run(blockOf('await import("lanemq/nowhere")')).stderr).toContain('ERR_PACKAGE_PATH_NOT_EXPORTED')
    expect(inProject((directory) => typeErrors(directory, [blockOf('\nexport const a: string = 1')]))).toEqual([
      "page.md:3 Type 'number' is not assignable to type 'string'.",
    ])
  })
})

function run({ language, setup, code }: Block): Outcome {
  const { ES2023, ESNext } = { ...ts.ScriptTarget, ...ts.ModuleKind }
  const compilerOptions = { target: ES2023, module: ESNext, verbatimModuleSyntax: true }
  const source = `${setup}\n${code}`
  const program = language === 'ts' ? ts.transpileModule(source, { compilerOptions }).outputText : source
  return inProject((directory) => {
    writeFileSync(join(directory, 'block.js'), program)
    return outcomeOf('block.js', directory)
  })
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
