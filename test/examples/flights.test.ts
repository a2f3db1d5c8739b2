import { spawnSync } from 'node:child_process'
import { cpSync, lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { open } from 'lanemq'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const RECORDS = 20_000
/** Bytes of one journal entry: event, partition, offset and five values of 32 bits. */
const ENTRY = 32

const main = fileURLToPath(new URL('../../examples/flights/main.js', import.meta.url))
const root = mkdtempSync(join(tmpdir(), 'lanemq-test-flights-'))
const original = join(root, 'original')

interface Group {
  readonly handled: number
  readonly lost: number
  readonly outOfOrder: number
  readonly runningAtKills: number
  readonly repeated: number
  readonly repeatedEffects: number
  readonly forgotten: number
  readonly wrong: number
  readonly ok: boolean
}

interface Document {
  readonly ok: boolean
  readonly records: number
  readonly kills: readonly { readonly acked: number; readonly present: number }[]
  readonly truth: { readonly flights: number; readonly airports: number; readonly delay: number; readonly late: number }
  readonly topic: { readonly messages: number; readonly lost: number; readonly wrong: number; readonly ok: boolean }
  readonly groups: {
    readonly accounts: Group & { readonly delay: number; readonly airports: number; readonly lostEffects: number }
    readonly alerts: Group & { readonly late: number }
    readonly archive: Group & { readonly delay: number }
  }
}

describe('the main job on 20,000 flights', () => {
  let first: Outcome

  beforeAll(() => {
    first = runMain('--records', String(RECORDS), '--keep', original)
  }, 120_000)

  afterAll(() => rmSync(root, { recursive: true, force: true }))

  test('ONCE-120: everything agrees after two kills, and no account counted a flight twice', () => {
    const { document, status } = first
    expect(document).toMatchObject({ ok: true, records: RECORDS, truth: { flights: RECORDS } })
    expect(status).toBe(0)
    expect(document.topic).toMatchObject({ messages: RECORDS, lost: 0, wrong: 0 })
    for (const group of Object.values(document.groups)) {
      expect(group).toMatchObject({ handled: RECORDS, lost: 0, outOfOrder: 0, wrong: 0, ok: true })
      expect(group.repeated).toBeLessThanOrEqual(group.runningAtKills)
    }
    const { truth, groups } = document
    expect(groups.accounts).toMatchObject({ repeatedEffects: 0, lostEffects: 0 })
    expect(groups.accounts).toMatchObject({ delay: truth.delay, airports: truth.airports })
    expect(groups.alerts.late).toBe(truth.late)
    expect(groups.archive.delay).toBe(truth.delay)
  })

  test('both kills came in the middle of sending, and lost nothing that was acknowledged', () => {
    const [one, two] = first.document.kills
    expect(one?.acked).toBeGreaterThan(RECORDS / 3)
    expect(two?.acked).toBeGreaterThan((RECORDS * 2) / 3)
    for (const { acked, present } of first.document.kills) {
      expect(acked).toBeLessThan(RECORDS)
      expect(present).toBeGreaterThanOrEqual(acked)
    }
  })

  test('a kept run can be checked again', async () => {
    expect(await checkCopy(() => {})).toEqual({ status: 0, document: first.document })
  })

  test.each(['accounts', 'alerts'] as const)('%s: a missing entry is a loss', async (group) => {
    const { status, document } = await checkCopy((folder) => {
      changeJournal(folder, group, (journal) => {
        // One that is done once and never again: the last one of the last life.
        return journal.subarray(0, journal.length - ENTRY)
      })
    })
    expect(status).toBe(1)
    expect(document).toMatchObject({ ok: false, groups: { [group]: { lost: 1, ok: false } } })
  })

  test('accounts: entries in the wrong order are seen', async () => {
    const { status, document } = await checkCopy((folder) => {
      changeJournal(folder, 'accounts', (journal) => {
        const entries = Array.from({ length: journal.length / ENTRY }, (_, i) =>
          journal.subarray(i * ENTRY, (i + 1) * ENTRY),
        )
        return Buffer.concat(entries.toReversed())
      })
    })
    expect(status).toBe(1)
    expect(document.groups.accounts.outOfOrder).toBeGreaterThan(0)
    expect(document.groups.accounts).toMatchObject({ lost: 0, wrong: 0, ok: false })
  })

  test('accounts: a message that was finished before the kill and is handed out again is seen', async () => {
    const { status, document } = await checkCopy((folder) => {
      const firstLife = readFileSync(join(folder, 'accounts', '1.journal'))
      // The last life begins with the first message of all.
      changeJournal(folder, 'accounts', (journal) => Buffer.concat([firstLife.subarray(0, ENTRY), journal]))
    })
    expect(status).toBe(1)
    expect(document.groups.accounts).toMatchObject({ lost: 0, unneeded: 1, ok: false })
  })

  test('accounts: a wrong sum is seen', async () => {
    const { status, document } = await checkCopy((folder) =>
      changeAccount(folder, (account) => ({ ...account, delay: account.delay + 1 })),
    )
    expect(status).toBe(1)
    expect(document.groups.accounts).toMatchObject({ lost: 0, repeatedEffects: 0, wrong: 1, ok: false })
  })

  test('accounts: a flight that was counted once more, or not at all, is seen', async () => {
    const twice = await checkCopy((folder) =>
      changeAccount(folder, (account) => ({ ...account, flights: account.flights + 1 })),
    )
    expect(twice.status).toBe(1)
    expect(twice.document.groups.accounts).toMatchObject({ repeatedEffects: 1, lostEffects: 0, ok: false })

    const never = await checkCopy((folder) =>
      changeAccount(folder, (account) => ({ ...account, flights: account.flights - 1 })),
    )
    expect(never.status).toBe(1)
    expect(never.document.groups.accounts).toMatchObject({ repeatedEffects: 0, lostEffects: 1, ok: false })
  })

  test('accounts: an effect that was on disk at a kill without its progress is seen', async () => {
    const { status, document } = await checkCopy((folder) => {
      changeRun(folder, ({ lives }) => {
        // As a store that commits the two one after the other would have left it.
        lives[1]!.restored['accounts']!.find(({ position }) => position > 0)!.position--
      })
    })
    expect(status).toBe(1)
    expect(document.groups.accounts).toMatchObject({ repeatedEffects: 1, wrong: 0, ok: false })
  })

  test('archive: a changed line and a missing file are seen', async () => {
    const changed = await checkCopy((folder) => {
      const path = lastArchiveFile(folder)
      writeFileSync(
        path,
        readFileSync(path, 'utf8').replace(/\d\n$/, (end) => (end === '1\n' ? '2\n' : '1\n')),
      )
    })
    expect(changed.status).toBe(1)
    expect(changed.document.groups.archive).toMatchObject({ lost: 0, wrong: 1, ok: false })

    const missing = await checkCopy((folder) => rmSync(lastArchiveFile(folder)))
    expect(missing.status).toBe(1)
    expect(missing.document.groups.archive.lost).toBeGreaterThan(0)
  })

  test('the topic: an acknowledged message that is missing after a kill is seen', async () => {
    const { status, document } = await checkCopy((folder) => {
      changeRun(folder, ({ lives }) => {
        lives[1]!.present[0] = lives[0]!.acked[0]! - 1
      })
    })
    expect(status).toBe(1)
    expect(document.topic).toMatchObject({ lost: 1, ok: false })
  })

  test('progress that was on disk before a kill and is gone after it is seen', async () => {
    const { status, document } = await checkCopy((folder) => {
      changeRun(folder, ({ lives }) => {
        for (const place of lives[1]!.restored['alerts']!) Object.assign(place, { position: 0, finishedAbove: 0 })
      })
    })
    expect(status).toBe(1)
    expect(document.groups.alerts.forgotten).toBeGreaterThan(RECORDS / 4)
    expect(document.groups.accounts.ok).toBe(true)
  })

  test('a wrong number of records is refused', () => {
    for (const records of ['0', '999', '3000001', '1.5', 'many']) {
      const { status, stdout, stderr } = spawnSync(process.execPath, [main, `--records=${records}`], {
        encoding: 'utf8',
      })
      expect({ status, stdout }).toEqual({ status: 2, stdout: '' })
      expect(stderr).toContain('--records must be a whole number from 1000 to 3000000')
    }
  })
})

interface Outcome {
  readonly status: number | null
  readonly document: Document
}

/** Runs the program; with `--json` there is nothing but the document on its standard output. */
function runMain(...options: string[]): Outcome {
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, '--json', ...options], { encoding: 'utf8' })
  if (stdout === '') throw new Error(`no document; standard error says: ${stderr}`)
  return { status, document: JSON.parse(stdout) as Document }
}

let copies = 0

/** Checks a copy of the kept run after `tamper` has changed it. */
async function checkCopy(tamper: (folder: string) => void | Promise<void>): Promise<Outcome> {
  const folder = join(root, `copy-${++copies}`)
  // The last owner's socket can't be copied, and nobody needs it.
  cpSync(original, folder, { recursive: true, filter: (path) => !lstatSync(path).isSocket() })
  await tamper(folder)
  return runMain('--check', folder)
}

/** Rewrites the journal of the last life. */
function changeJournal(folder: string, group: string, change: (journal: Buffer) => Buffer): void {
  const path = join(folder, group, '3.journal')
  writeFileSync(path, change(readFileSync(path)))
}

interface Account {
  readonly flights: number
  readonly delay: number
}

/** Rewrites one account in the store. */
async function changeAccount(folder: string, change: (account: Account) => Account): Promise<void> {
  const mq = await open({ path: join(folder, 'queue') })
  const accounts = await mq.store<Account>('accounts')
  const [first] = accounts.range({ limit: 1 })
  await accounts.put(first!.key, change(first!.value))
  await mq.close()
}

interface Run {
  readonly lives: readonly {
    readonly present: number[]
    readonly acked: number[]
    readonly restored: Record<string, { position: number; finishedAbove: number }[]>
  }[]
}

/** Rewrites what the parent noted about the lives of the worker. */
function changeRun(folder: string, change: (run: Run) => void): void {
  const path = join(folder, 'run.json')
  const run = JSON.parse(readFileSync(path, 'utf8')) as Run
  change(run)
  writeFileSync(path, JSON.stringify(run))
}

function lastArchiveFile(folder: string): string {
  const names = readdirSync(join(folder, 'archive')).filter((name) => name.startsWith('3-') && name.endsWith('.csv'))
  return join(folder, 'archive', names.toSorted().at(-1)!)
}
