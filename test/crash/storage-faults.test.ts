import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { StorageChild } from './storage-child.ts'

const long = process.env['LANEMQ_LONG'] === '1'
const base = mkdtempSync(join(tmpdir(), 'lanemq-faults-'))
afterAll(() => rmSync(base, { recursive: true, force: true }))

/** Faults of the system are injected by strace; without it, or where tracing is forbidden, they can't be. */
const traces = spawnSync('strace', ['-o', '/dev/null', 'true']).status === 0
const calls = ['pwrite64', 'writev', 'fdatasync']
const errors = ['EIO', 'ENOSPC']

interface Run {
  readonly acked: number
  readonly lines: string[]
  /**
   * lmdb writes the text of some write errors past its buffer (decision 0003). Memory that was damaged so ends the process by
   * a signal now and then, or makes it hang where no code of ours runs any more; and its bookkeeping of the failed commit
   * may throw out of a callback that nobody can catch. What it acknowledged has to stand even so.
   */
  readonly died: boolean
  readonly hung: boolean
  /** By a signal, or by an exception out of lmdb's own callback. */
  readonly endedNatively: boolean
  readonly code: number | null
  readonly stderr: string
}

describe('storage: injected faults', () => {
  // A skip is counted by the runner; the reason stands in the title.
  describe.skipIf(!traces)(`needs strace${traces ? '' : ', which is not installed or may not trace'}`, () => {
    for (const call of calls) {
      for (const error of errors) {
        test(`DURA-7: ${error} from ${call} stops the store with a typed error; nothing acknowledged is lost`, async () => {
          const seen = { faults: 0, typed: 0, died: 0, hung: 0 }
          for (const when of long ? Array.from({ length: 40 }, (_, i) => i + 1) : [1, 4]) {
            const directory = join(base, `${call}-${error}-${when}`)
            mkdirSync(directory)
            const made = await run(directory, '6')
            expect(made.died).toBe(false)
            const inject = `inject=${call}:error=${error}:when=${when}`
            const faulty = await run(directory, '40', [
              // Ends the whole group: strace alone would leave behind what it traced.
              'timeout',
              '-s',
              'KILL',
              '30',
              'strace',
              '-f',
              '-qq',
              '-o',
              '/dev/null',
              '-E',
              'COMMIT_TIMEOUT_MS=5000',
              '-e',
              inject,
            ])
            const failed = faulty.lines.filter((line) => line.startsWith('error'))
            if (failed.length > 0 || faulty.died) seen.faults++
            if (failed.length > 0) seen.typed++
            if (faulty.died) seen.died++
            if (faulty.hung) seen.hung++
            // In the very open it is the open that fails.
            for (const line of failed)
              expect(line).toMatch(/^error (STORE_FAILED .*outcome|STORE_UNWRITABLE|STORE_FULL)/)
            // Any end but these is ours: an exit without a word, or an exception that lmdb's callback did not throw.
            if (faulty.died) expect(faulty.endedNatively, `${faulty.code} ${faulty.stderr}`).toBe(true)
            const after = await run(directory, '3')
            const [, , stored] = after.lines[0]?.split(' ') ?? []
            expect(after.lines[0]).toMatch(/^open/)
            expect(Number(stored)).toBeGreaterThan(Math.max(made.acked, faulty.acked))
            rmSync(directory, { recursive: true, force: true })
          }
          console.log(`${error} from ${call}: ${JSON.stringify(seen)}`)
          expect(seen.faults, 'no fault arrived').toBeGreaterThan(0)
        })
      }
    }
  })
})

/** Writes batches and checks those of before; see storage-writer.mjs. */
async function run(directory: string, batches: string, command: string[] = []): Promise<Run> {
  const child = new StorageChild('storage-writer.mjs', [directory, batches], command)
  const lines: string[] = []
  for await (const line of child.lines) lines.push(line)
  const { code, signal } = await child.ended
  const acks = lines.filter((line) => line.startsWith('ack')).map((line) => Number(line.slice(4)))
  // Only who closed the store came to the end of the script.
  const died = lines.at(-1) !== 'closed'
  // A signal shows as itself, or as the code that strace and timeout pass on.
  const hung = died && (signal === 'SIGKILL' || code === 137)
  const endedNatively =
    signal !== null || (code ?? 0) >= 128 || (code === 1 && child.stderr.includes('node_modules/lmdb/write.js'))
  return { endedNatively, lines, acked: Math.max(-1, ...acks), died, hung, code, stderr: child.stderr }
}
