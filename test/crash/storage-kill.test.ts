import { existsSync, mkdirSync, mkdtempSync, rmSync, watch } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { StorageChild } from './storage-child.ts'

const long = process.env['LANEMQ_LONG'] === '1'
const rounds = Number(process.env['LANEMQ_KILLS'] ?? (long ? 400 : 10))
const base = mkdtempSync(join(tmpdir(), 'lanemq-kill-'))
const random = seeded(Number(process.env['LANEMQ_SEED'] ?? 1))
afterAll(() => rmSync(base, { recursive: true, force: true }))

describe('storage: kill -9', () => {
  test(
    'LOSS-1: what was acknowledged is there after kill -9, and no batch is torn',
    { timeout: 3_600_000 },
    async () => {
      const directory = join(base, 'loop')
      let acked = -1
      let epoch = 0
      const kills = { big: 0, issued: 0, ack: 0 }
      for (let round = 0; round < rounds; round++) {
        const child = new StorageChild('storage-writer.mjs', [directory])
        const moment = (['big', 'issued', 'ack'] as const)[random(3)] as 'ack'
        let countdown = moment === 'ack' ? random(60) : random(2)
        for await (const line of child.lines) {
          const [word, first, second] = line.split(' ') as [string, string, string]
          if (word === 'error') throw new Error(`round ${round}: ${line}`)
          if (word === 'open') {
            expect(Number(first)).toBeGreaterThan(epoch)
            epoch = Number(first)
            expect(Number(second)).toBeGreaterThan(acked)
          }
          if (word === 'ack') acked = Number(first)
          if (word === moment && countdown-- === 0) {
            kills[moment]++
            child.kill()
          }
        }
        expect((await child.ended).signal).toBe('SIGKILL')
      }
      console.log(
        `${rounds} times kill -9: ${JSON.stringify(kills)}, ${acked + 1} batches acknowledged, 0 lost, 0 torn`,
      )
    },
  )

  test('DURA-6: a store killed while it is made is made by the next owner', { timeout: 3_600_000 }, async () => {
    let early = 0
    for (let round = 0; round < (long ? 200 : 6); round++) {
      const directory = join(base, `make-${round}`)
      mkdirSync(directory)
      const child = new StorageChild('storage-writer.mjs', [directory])
      let countdown = random(12)
      const watcher = watch(directory, () => {
        if (countdown-- === 0) child.kill()
      })
      for await (const line of child.lines) if (line.startsWith('ack')) child.kill()
      await child.ended
      watcher.close()
      if (!existsSync(join(directory, 'data.mdb'))) early++
      const next = new StorageChild('storage-writer.mjs', [directory, '1'])
      const lines: string[] = []
      for await (const line of next.lines) lines.push(line)
      expect(lines.at(-1)).toBe('closed')
      expect(lines.filter((line) => line.startsWith('error'))).toEqual([])
    }
    console.log(`killed while making: ${early} before the file was there`)
  })
})

/** A small generator (mulberry32), so that a seed repeats the choices. */
function seeded(seed: number): (limit: number) => number {
  let state = seed
  return (limit) => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit
  }
}
