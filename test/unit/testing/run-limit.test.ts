import { expect, test } from 'vitest'
import { RunLimit } from '../../../src/testing/explore/run-limit.ts'

test('TEST-146: a run may have three million tasks, and not one more', () => {
  const limit = new RunLimit()
  for (let task = 0; task < 3_000_000; task++) if (limit.count()) throw new Error(`task ${task} was refused`)
  expect(limit.count()).toMatchObject({ code: 'ENDLESS', message: expect.stringContaining('3000000 tasks') as string })
})
