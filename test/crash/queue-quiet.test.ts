import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { StorageChild } from './storage-child.ts'

describe('queue: a process that closed it', () => {
  for (const mode of ['disk', 'memory', 'lost', 'draining']) {
    test(`QUIET-46: holds no timer or handle of it, has no unhandled rejection, and exits by itself: ${mode}`, async () => {
      const base = mkdtempSync(join(tmpdir(), 'lanemq-quiet-'))
      onTestFinished(() => rmSync(base, { recursive: true, force: true }))
      const child = new StorageChild('queue-quiet.mjs', [join(base, 'store'), mode])
      const said: Record<string, unknown>[] = []
      for await (const line of child.lines) said.push(JSON.parse(line) as Record<string, unknown>)
      expect(await child.ended).toEqual({ code: 0, signal: null })
      expect(child.stderr).toBe('')
      expect(said.filter((one) => 'unhandled' in one || 'uncaught' in one)).toEqual([])
      expect(said.find((one) => 'resources' in one)).toMatchObject({ resources: [] })
      expect(said.at(-1)).toEqual({ exit: 0 })
      if (mode !== 'lost') expect(said.find((one) => 'left' in one)).toMatchObject({ left: expect.any(Number) })
    })
  }
})
