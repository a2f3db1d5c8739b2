import { execFile } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openTest, type TestQueue } from '../../src/testing/index.ts'
import { test as queueTest } from '../../src/testing/vitest.ts'
import { order, wireShop } from './shop.ts'

const root = join(import.meta.dirname, '../..')
const place = mkdtempSync(join(tmpdir(), 'lanemq-runners-'))

interface Ended {
  readonly code: number
  readonly output: string
}

/** Runs a command to its end; one that does not end by itself is killed, and has no code. */
function run(command: string, args: string[], options: { env?: NodeJS.ProcessEnv; timeout: number }): Promise<Ended> {
  const { NODE_OPTIONS: _, NODE_TEST_CONTEXT: _own, ...env } = process.env
  const given = {
    cwd: place,
    timeout: options.timeout,
    killSignal: 'SIGKILL',
    env: { ...env, ...options.env },
  } as const
  return new Promise((resolve) => {
    execFile(command, args, given, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : Number.NaN
      resolve({ code, output: `${stdout}${stderr}` })
    })
  })
}

/** The package as it is published, beside tests that use it. */
beforeAll(async () => {
  const own = join(place, 'node_modules/lanemq')
  mkdirSync(own, { recursive: true })
  const tsc = join(root, 'node_modules/typescript/bin/tsc')
  const built = await run(
    process.execPath,
    [tsc, '-p', join(root, 'tsconfig.build.json'), '--outDir', join(own, 'dist')],
    {
      timeout: 120_000,
    },
  )
  expect(built).toMatchObject({ code: 0 })
  cpSync(join(root, 'package.json'), join(own, 'package.json'))
  symlinkSync(join(root, 'node_modules'), join(own, 'node_modules'))
  writeFileSync(join(place, 'package.json'), '{ "type": "module" }')
  writeFileSync(join(place, 'shop.js'), shop)
}, 180_000)

afterAll(() => rmSync(place, { recursive: true, force: true }))

const shop = `
export async function wire(mq) {
  const orders = await mq.topic('orders', { partitions: 2 })
  await orders.subscribe('billing', () => {}, { from: 'earliest', attempts: 3 })
}
`

const nodeTest = `
import { test } from 'node:test'
import assert from 'node:assert/strict'
import { openTest } from 'lanemq/testing'
import { wire } from './shop.js'

let last
for (const store of ['memory', 'lmdb-tmp']) {
  test('a flow ' + store, async (context) => {
    const t = await openTest({ wire, context, store })
    last = t
    t.handler('billing').failTimes(1)
    await t.send('orders', { key: 'a', value: 1 })
    const { retried } = await t.drain()
    assert.equal(retried, 1)
    t.crash('power')
    await t.restart()
    await t.drain()
    t.assert.drained()
  })
  test('the one before was disposed ' + store, async () => {
    await assert.rejects(() => last.settle(), { code: 'DISPOSED' })
  })
}
`

const failing = `
import { test } from 'node:test'
import { openTest } from 'lanemq/testing'
import { wire } from './shop.js'

test('says what it saw', async (context) => {
  const t = await openTest({ wire, context })
  await t.send('orders', { key: 'a', value: { total: 1 } })
  await t.drain()
  t.assert.published('orders', { key: 'a', value: { total: 2 } })
})
test('leaves work running', async (context) => {
  const hang = async (mq) => {
    const orders = await mq.topic('orders')
    await orders.subscribe('billing', () => new Promise(() => {}), { from: 'earliest' })
  }
  const t = await openTest({ wire: hang, context })
  await t.send('orders', { key: 'a', value: 1 })
})
`

test('TEST-140: under node:test, from the built package, with its context; the process ends by itself', async () => {
  writeFileSync(join(place, 'flow.test.js'), nodeTest)
  const { code, output } = await run(process.execPath, ['--test', 'flow.test.js'], { timeout: 60_000 })
  expect(output).toMatch(/pass 4\n/)
  expect(code).toBe(0)
})

test('TEST-140: node:test shows the difference of a failure, and what was left running', async () => {
  writeFileSync(join(place, 'failing.test.js'), failing)
  const { code, output } = await run(process.execPath, ['--test', 'failing.test.js'], { timeout: 60_000 })
  expect(code).toBe(1)
  expect(output).toMatch(/fail 2\n/)
  expect(output).toContain("expected a message published to 'orders'")
  expect(output).toMatch(/done +billing orders\[0]@0 a #1/)
  expect(output).toContain('LEFT_RUNNING')
})

test('TEST-141: a plain process that opens, crashes and disposes ends by itself', async () => {
  const program = `
    import { openTest } from 'lanemq/testing'
    import { wire } from './shop.js'
    for (const store of ['memory', 'lmdb-tmp']) {
      const t = await openTest({ wire, store })
      t.clock.every('1s', 'tick', () => {})
      t.faults.stuck('billing')
      await t.send('orders', { key: 'a', value: 1 })
      t.crash()
      await t.restart()
      await t.dispose().catch(({ code }) => console.log(code))
    }
    console.log('end')
  `
  writeFileSync(join(place, 'plain.js'), program)
  const { code, output } = await run(process.execPath, ['plain.js'], { timeout: 30_000 })
  expect({ code, output: output.trim().split('\n').at(-1) }).toEqual({ code: 0, output: 'end' })
})

const jestTest = `
import 'lanemq/testing/jest'
import { openTest } from 'lanemq/testing'
import { wire } from './shop.js'

test('passes', async () => {
  const t = await openTest({ wire })
  await t.send('orders', { key: 'a', value: { total: 1 } })
  await t.drain()
  expect(t).toHavePublished('orders', { key: 'a' })
  expect(t).not.toHavePublished('orders', { key: 'b' })
  expect(t).toHaveDelivered('billing', { key: 'a' })
  expect(t).not.toHavePending('retry')
  expect(t).not.toHaveDead('billing')
  expect(t).toBeDrained()
  await t.dispose()
})
test('fails with a difference', async () => {
  const t = await openTest({ wire })
  try {
    await t.send('orders', { key: 'a', value: { total: 1 } })
    await t.drain()
    expect(t).toHavePublished('orders', { value: { total: 2 } })
  } finally {
    await t.dispose()
  }
})
test('fake timers are refused', async () => {
  jest.useFakeTimers()
  await expect(openTest({ wire })).rejects.toMatchObject({ code: 'FAKE_TIMERS' })
  jest.useRealTimers()
})
`

test('TEST-142: under real jest, with its matchers', { timeout: 180_000 }, async (context) => {
  const jest = ['install', '--no-save', '--no-audit', '--no-fund', '--prefix', join(place, 'jest'), 'jest@30.5.2']
  mkdirSync(join(place, 'jest'))
  const installed = await run('npm', jest, { timeout: 60_000 })
  if (installed.code !== 0)
    context.skip(`jest 30.5.2 could not be installed within 60 s: ${installed.output.slice(-200)}`)
  mkdirSync(join(place, 'jest-tests'))
  writeFileSync(
    join(place, 'jest-tests/flow.test.js'),
    jestTest
      .replaceAll('./shop.js', '../shop.js')
      .replace('import { openTest }', "import { jest } from '@jest/globals'\nimport { openTest }"),
  )
  symlinkSync(join(place, 'jest/node_modules/@jest'), join(place, 'node_modules/@jest'))
  writeFileSync(join(place, 'jest.config.json'), '{ "transform": {}, "roots": ["<rootDir>/jest-tests"] }')
  const { code, output } = await run(
    process.execPath,
    [join(place, 'jest/node_modules/jest/bin/jest.js'), '--ci', '--verbose'],
    {
      timeout: 60_000,
      env: { NODE_OPTIONS: '--experimental-vm-modules' },
    },
  )
  expect(output).toContain('1 failed, 2 passed')
  expect(output).toMatch(/✓ passes/)
  expect(output).toMatch(/✕ fails with a difference/)
  expect(output).toContain("expected a message published to 'orders'")
  // It ended by itself.
  expect(code).toBe(1)
})

test('TEST-143: under vitest, with its matchers', async () => {
  await using t = await openTest({ wire: wireShop() })
  t.handler('billing').failTimes(3, () => new Error('declined'), { key: 'd' })
  await Promise.all([t.send('orders', order('a', 5)), t.send('orders', order('d', 6))])
  await t.settle()
  expect(t).toHavePublished('orders', { value: { total: 5 } })
  expect(t).not.toHavePublished('orders', { value: { total: 7 } })
  expect(t).toHavePending('retry', { key: 'd', in: '1s' })
  expect(t).not.toBeDrained()
  expect(() => expect(t).toBeDrained()).toThrow("expected every group to be empty, saw 'billing' with 1 unfinished")
  await t.drain({ allowDead: 1 })
  expect(t).toHaveDelivered('billing', { key: 'a' })
  expect(t).not.toHaveDelivered('billing', { key: 'b' })
  expect(t).toHaveDead('billing', { key: 'd', attempts: 3 })
  expect(() => expect(t).not.toHaveDead('billing')).toThrow('expected no message given up')
  expect(() => expect(7).toBeDrained()).toThrow('was given no test queue')
})

const opened: TestQueue[] = []

queueTest('TEST-143: its fixture opens as many as are asked for', async ({ openTest: open }) => {
  opened.push(await open({ wire: wireShop() }), await open())
  await opened[0]!.send('orders', order('a'))
  await opened[0]!.drain()
})

test('TEST-143: and disposes all of them when the test ends', async () => {
  expect(opened).toHaveLength(2)
  for (const t of opened) await expect(t.settle()).rejects.toMatchObject({ code: 'DISPOSED' })
})
