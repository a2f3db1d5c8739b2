/** A runnable code block of a Markdown page. */
export interface Block {
  readonly page: string
  /** The line of the page that holds the first line of the block. */
  readonly line: number
  readonly language: 'js' | 'ts'
  /** What runs it: node as a program, or a runner of tests. */
  readonly runner: Runner
  /** The name under which later blocks of the page can import it. */
  readonly file: string | undefined
  /** Blocks above it on the page that have such a name. */
  readonly files: readonly Block[]
  readonly code: string
  /** The code that a reader is spared: it runs before the block. */
  readonly setup: string
  /** What it prints: the texts behind its `// =>`, in order, and then the lines of a `text` block right below it. */
  readonly prints: string[]
}

/** What runs a block. A test has to pass, and what is printed around it is the runner's. */
export type Runner = 'node' | 'node:test' | 'vitest' | 'jest'

const runners: readonly string[] = ['node:test', 'vitest', 'jest'] satisfies Runner[]
const fence = /^```(?<language>\w*) *(?<info>.*)$/
// What a reader has done before, kept out of sight: <!-- before: const mq = await open() -->
const hiddenSetup = /<!-- before:(?<code>(?:(?!-->)[^])*)-->\s*$/
const languages: Record<string, Block['language']> = { js: 'js', javascript: 'js', ts: 'ts', typescript: 'ts' }

/**
 * The JavaScript and TypeScript blocks of a page, less those whose info string says `no-run`.
 *
 * A comment `<!-- before: code -->` right above a block is put in front of its code. In the info string, `file=name.js` lets
 * later blocks import it, and the name of a runner makes it a file of tests.
 */
export function blocksOf(page: string, markdown: string): Block[] {
  const lines = markdown.split('\n')
  const blocks: Block[] = []
  for (let start = 0; start < lines.length; start++) {
    const { language = '', info = '' } = fence.exec(lines[start] ?? '')?.groups ?? {}
    if (!lines[start]?.startsWith('```')) continue
    const end = lines.indexOf('```', start + 1)
    if (end < 0) throw new Error(`${page}:${start + 1} opens a code block that never ends`)
    const known = languages[language]
    const words = info.split(' ')
    if (known !== undefined && !words.includes('no-run')) {
      const code = lines.slice(start + 1, end).join('\n')
      const setup = hiddenSetup.exec(lines.slice(0, start).join('\n'))?.groups?.['code'] ?? ''
      const runner = (words.find((word) => runners.includes(word)) ?? 'node') as Runner
      const file = words.find((word) => word.startsWith('file='))?.slice('file='.length)
      const files = blocks.filter((block) => block.file !== undefined)
      const prints = [...printsOf(code), ...textBelow(lines, end)]
      blocks.push({ page, line: start + 2, language: known, runner, file, files, code, setup, prints })
    }
    start = end
  }
  return blocks
}

/** The texts behind `// =>`, in order. */
export function printsOf(code: string): string[] {
  return [...code.matchAll(/\/\/ =>(?: (.*))?$/gm)].map(([, text = '']) => text.trimEnd())
}

/** The lines of a `text` block that follows the fence at `end`, if one does. */
function textBelow(lines: readonly string[], end: number): string[] {
  let next = end + 1
  while (lines[next]?.trim() === '') next++
  return lines[next] === '```text' ? lines.slice(next + 1, lines.indexOf('```', next + 1)) : []
}
