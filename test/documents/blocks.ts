/** A runnable code block of a Markdown page. */
export interface Block {
  readonly page: string
  /** The line of the page that holds the first line of the block. */
  readonly line: number
  readonly language: 'js' | 'ts'
  readonly code: string
  /** The code that a reader is spared: it runs before the block. */
  readonly setup: string
  /** What it prints: the texts behind its `// =>`, in order. */
  readonly prints: string[]
}

const fence = /^```(?<language>\w*) *(?<info>.*)$/
// What a reader has done before, kept out of sight: <!-- before: const mq = await open() -->
const hiddenSetup = /<!-- before:(?<code>(?:(?!-->)[^])*)-->\s*$/
const languages: Record<string, Block['language']> = { js: 'js', javascript: 'js', ts: 'ts', typescript: 'ts' }

/**
 * The JavaScript and TypeScript blocks of a page, less those whose info string says `no-run`.
 *
 * A comment `<!-- before: code -->` right above a block is put in front of its code.
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
    if (known !== undefined && !info.split(' ').includes('no-run')) {
      const code = lines.slice(start + 1, end).join('\n')
      const setup = hiddenSetup.exec(lines.slice(0, start).join('\n'))?.groups?.['code'] ?? ''
      blocks.push({ page, line: start + 2, language: known, code, setup, prints: printsOf(code) })
    }
    start = end
  }
  return blocks
}

/** The texts behind `// =>`, in order. */
export function printsOf(code: string): string[] {
  return [...code.matchAll(/\/\/ =>(?: (.*))?$/gm)].map(([, text = '']) => text.trimEnd())
}
