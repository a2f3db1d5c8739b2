import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { resolveRetention, resolveSubscribeOptions, resolveTopicOptions } from '../../../src/client/resolve.ts'
import type { QueueError } from '../../../src/errors.ts'
import { open, openInMemory, type InMemoryMessageQueue, type Subscription, type Topic } from '../../../src/index.ts'

/** What one option takes and refuses; every other type is refused too. */
interface Option {
  readonly name: string
  readonly good: readonly unknown[]
  readonly bad: readonly unknown[]
}

/** Values of every other type; those of the option's own type are given by the case. */
const strangers: Record<string, unknown> = {
  string: 'text',
  number: 3.5,
  boolean: true,
  object: { some: 'thing' },
  array: ['thing'],
  function: () => {},
  bigint: 5n,
  null: null,
}

const integer = (name: string, low: number, high: number): Option => {
  const bad = [low - 1, high + 1, low + 0.5, NaN, -Infinity, Infinity, String(low), ...except('number')]
  return { name, good: [low, high, undefined], bad }
}
const unlimited = (name: string, low: number): Option => {
  const bad = [low - 1, low + 0.5, NaN, -Infinity, 2 ** 53, ...except('number')]
  return { name, good: [low, Number.MAX_SAFE_INTEGER, Infinity, undefined], bad }
}
const decimal = (name: string, low: number, high: number): Option => {
  const bad = [low - 0.01, high + 0.01, NaN, Infinity, ...except('number')]
  return { name, good: [low, high, (low + high) / 2, undefined], bad }
}
const oneOf = (name: string, ...values: string[]): Option => {
  return { name, good: [...values, undefined], bad: ['other', '', values[0]!.toUpperCase(), ...except('string')] }
}
const flag = (name: string): Option => ({
  name,
  good: [true, false, undefined],
  bad: [0, 1, 'true', ...except('boolean')],
})
const signal: Option = {
  name: 'signal',
  good: [new AbortController().signal, undefined],
  bad: [new AbortController(), {}, ...except()],
}
const position = (name: string): Option => ({
  name,
  good: ['earliest', 'latest', { offset: 0 }, { offset: [0] }, { timestamp: 0 }, { timestamp: 2 ** 53 - 1 }],
  bad: [
    'first',
    { offset: -1 },
    { offset: 0.5 },
    { offset: [] },
    { offset: [-1] },
    { offset: ['0'] },
    { timestamp: -1 },
    { timestamp: new Date(0) },
    { timestamp: 0, offset: 0 },
    { Offset: 0 },
    {},
    ...except('string'),
  ],
})

function except(...types: string[]): unknown[] {
  return Object.entries(strangers).flatMap(([type, value]) => (types.includes(type) ? [] : [value]))
}

const dayMs = 86_400_000
const queueOptions = [
  integer('maxInFlightBytes', 1024, 2 ** 31),
  oneOf('onFull', 'wait', 'reject'),
  integer('maxWaitingSends', 1, 10_000_000),
  integer('tailBytes', 65_536, 2 ** 32),
  integer('retentionCheckMs', 10, dayMs),
  integer('closeTimeoutMs', 0, dayMs),
]

let mq: InMemoryMessageQueue
let topic: Topic
let subscription: Subscription

beforeAll(async () => {
  mq = await openInMemory()
  topic = await mq.topic('t', { partitions: 2 })
  subscription = await topic.subscribe('g', () => {}, { from: 'earliest' })
})
afterAll(async () => void (await mq.close()))

/** Every place where a user passes options: what it is called in messages, how to pass them, and what they may be. */
const doors: { where: string; pass: (options: never) => unknown; options: Option[]; base?: object }[] = [
  {
    where: 'open',
    // A path that can't be made, so that what is accepted fails for another reason.
    pass: (options) => open(options),
    base: { path: '/dev/null/nowhere' },
    options: [
      { name: 'path', good: ['/dev/null/nowhere'], bad: ['', 'a\0b', undefined, ...except('string')] },
      integer('commitTimeoutMs', 100, 3_600_000),
      integer('minFreeBytes', 0, 2 ** 50),
      ...queueOptions,
    ],
  },
  {
    where: 'openInMemory',
    pass: (options) => openInMemory(options).then((queue) => queue.close()),
    options: queueOptions,
  },
  {
    where: 'topic',
    pass: (options) => resolveTopicOptions(options),
    options: [
      integer('partitions', 1, 4096),
      { name: 'codec', good: ['json', 'bytes', 'msgpack', undefined], bad: ['xml', ...except()] },
      { name: 'retention', good: [{}, undefined], bad: except('object') },
      integer('maxValueBytes', 1, 64 * 2 ** 20),
      integer('maxKeyBytes', 1, 65_536),
      integer('maxHeadersBytes', 2, 2 ** 20),
      integer('maxBatchBytes', 1024, 256 * 2 ** 20),
      {
        name: 'schema',
        good: [{ '~standard': { validate: () => ({}) } }, undefined],
        bad: [{ validate() {} }, ...except()],
      },
      oneOf('validate', 'send', 'send-and-receive'),
    ],
  },
  {
    where: 'retention',
    pass: (options) => resolveRetention(options),
    options: [
      unlimited('maxAgeMs', 1),
      unlimited('maxBytes', 1),
      { name: 'consumedBy', good: [[], ['g'], undefined], bad: [new Array(101).fill('g'), ...except('array')] },
    ],
  },
  {
    where: 'retention',
    pass: (options) => resolveRetention(options),
    base: { consumedBy: ['g'], maxBytes: 10 },
    options: [{ ...unlimited('hardMaxBytes', 1), good: [10, Infinity, undefined] }],
  },
  {
    where: 'subscribe',
    pass: (options) => resolveSubscribeOptions('g', options),
    options: [
      position('from'),
      oneOf('ordering', 'key', 'partition', 'unordered'),
      integer('concurrency', 1, 100_000),
      unlimited('attempts', 1),
      { name: 'backoff', good: [{}, [1, 0, dayMs], () => 1, undefined], bad: except('object', 'array', 'function') },
      oneOf('onExhausted', 'park-key', 'stop', 'skip'),
      { name: 'retryable', good: [() => true, undefined], bad: except('function') },
      integer('handlerTimeoutMs', 1, 86_400_000),
      { name: 'batch', good: [{ max: 1 }, undefined], bad: except('object') },
      oneOf('onGap', 'error', 'skip'),
      integer('maxBufferedMessages', 1, 10_000_000),
      integer('maxBufferedBytes', 65_536, 2 ** 32),
      integer('maxDeferredMessages', 0, 100_000_000),
      signal,
    ],
  },
  {
    where: 'subscribe',
    pass: (options) => resolveSubscribeOptions('g', options),
    base: { handlerTimeoutMs: 1 },
    options: [oneOf('onTimeout', 'wait', 'abandon')],
  },
  {
    where: 'subscribe',
    pass: (options) => resolveSubscribeOptions('g', options),
    options: [{ name: 'onTimeout', good: [undefined], bad: ['wait', 'abandon'] }],
  },
  {
    where: 'subscribe.backoff',
    pass: (backoff) => resolveSubscribeOptions('g', { backoff }),
    options: [
      oneOf('type', 'fixed', 'exponential'),
      {
        name: 'delayMs',
        good: [0, dayMs, [0.5], new Array(1_000).fill(1), () => 1, undefined],
        bad: [
          ...decimal('', 0, dayMs).bad.filter((one) => typeof one !== 'function'),
          [],
          [-1],
          [dayMs + 1],
          ['1'],
          new Array(2),
          new Array(1_001).fill(1),
        ],
      },
      { ...decimal('maxDelayMs', 0, dayMs), good: [100, dayMs, undefined] },
      decimal('jitter', 0, 1),
    ],
  },
  {
    where: 'subscribe.batch',
    pass: (batch) => resolveSubscribeOptions('g', { batch }),
    base: { max: 5 },
    options: [
      { ...integer('max', 1, 100_000), good: [1, 100_000], bad: [...integer('max', 1, 100_000).bad, undefined] },
      integer('maxWaitMs', 0, 3_600_000),
    ],
  },
  {
    where: 'send',
    pass: (options) => topic.send({ value: 1 }, options),
    options: [oneOf('acks', 'flushed', 'buffered'), signal],
  },
  {
    where: 'send',
    pass: (options) => topic.sendBatch([{ value: 1 }], options),
    options: [oneOf('acks', 'flushed', 'buffered'), signal],
  },
  {
    where: 'read',
    pass: (options) => topic.read(options),
    options: [position('from'), integer('partition', 0, 1), flag('follow'), signal],
  },
  {
    where: 'configure',
    pass: (options) => topic.configure(options),
    options: [{ name: 'retention', good: [{}, undefined], bad: except('object', 'array', 'null') }],
  },
  { where: 'drain', pass: (options) => subscription.drain(options), options: [integer('timeoutMs', 0, dayMs)] },
  {
    where: 'pause',
    pass: (options) => subscription.pause(options),
    options: [integer('partition', 0, 4095), { name: 'key', good: ['', 'k'], bad: except('string') }],
  },
  {
    where: 'resume',
    pass: (options) => subscription.resume(options),
    base: { partition: 1 },
    options: [{ name: 'topic', good: ['t', undefined], bad: except('string') }],
  },
]

async function outcome(run: () => unknown): Promise<QueueError | undefined> {
  try {
    await run()
    return undefined
  } catch (error) {
    return error as QueueError
  }
}

const isRefusal = (error: QueueError | undefined): boolean => error?.code === 'INVALID_OPTION'

describe.each(doors)('options of $where', ({ where, pass, options, base }) => {
  test('an unknown one is refused by name, with what is known', async () => {
    const error = await outcome(() => pass({ ...base, maxWorkers: 3 } as never))
    expect(error).toMatchObject({ code: 'INVALID_OPTION', option: 'maxWorkers', value: 3 })
    for (const { name } of options) expect(error?.allowed).toContain(name)
    expect(error?.message).toContain(`${where}: option maxWorkers is unknown`)
  })

  test('anything but an object is refused', async () => {
    for (const wrong of [null, 5, 'text', [], () => {}]) {
      if (where === 'subscribe.backoff' || where === 'subscribe.batch') continue
      expect(await outcome(() => pass(wrong as never)), String(wrong)).toMatchObject({ code: 'INVALID_OPTION' })
    }
  })

  test.each(options)(
    '$name takes what is in range and refuses everything else, naming it',
    async ({ name, good, bad }) => {
      for (const value of bad) {
        const error = await outcome(() => pass({ ...base, [name]: value } as never))
        expect(error, `${name}: ${String(value)}`).toMatchObject({ code: 'INVALID_OPTION', option: name })
        expect(error?.value, name).toBe(value)
        expect(error?.allowed, name).toBeTruthy()
        expect(error?.message).toContain(name)
      }
      for (const value of good) {
        const given = { ...base, [name]: value }
        const before = { ...given }
        const error = await outcome(() => pass(given as never))
        expect(isRefusal(error), `${name}: ${String(value)}: ${error?.message}`).toBe(false)
        expect(given, 'the caller keeps its object').toEqual(before)
      }
    },
  )
})

describe('options that depend on each other', () => {
  test.each<[string, () => unknown, string]>([
    ['hardMaxBytes without groups', () => resolveRetention({ hardMaxBytes: 5 }), 'hardMaxBytes'],
    ['hardMaxBytes with an empty list', () => resolveRetention({ hardMaxBytes: 5, consumedBy: [] }), 'hardMaxBytes'],
    [
      'hardMaxBytes below maxBytes',
      () => resolveRetention({ hardMaxBytes: 5, maxBytes: 6, consumedBy: ['g'] }),
      'hardMaxBytes',
    ],
    [
      'maxDelayMs below delayMs',
      () => resolveSubscribeOptions('g', { backoff: { delayMs: 50, maxDelayMs: 49 } }),
      'maxDelayMs',
    ],
    [
      'maxDelayMs below one of several delays',
      () => resolveSubscribeOptions('g', { backoff: { delayMs: [1, 50], maxDelayMs: 49 } }),
      'maxDelayMs',
    ],
    [
      'a way to grow beside a list of delays',
      () => resolveSubscribeOptions('g', { backoff: { type: 'fixed', delayMs: [1] } }),
      'type',
    ],
    ['a list of delays with a negative one', () => resolveSubscribeOptions('g', { backoff: [1, -1] }), 'delayMs'],
    ['a batch without max', () => resolveSubscribeOptions('g', { batch: {} as never }), 'max'],
    ['pausing a topic without a partition', () => subscription.pause({ topic: 't' }), 'topic'],
    ['concurrency below one', () => subscription.setConcurrency(0), 'concurrency'],
    ['concurrency above the range', () => subscription.setConcurrency(100_001), 'concurrency'],
    ['a batch of sends that is no array', () => topic.sendBatch({} as never), 'messages'],
    ['a new group without from', () => topic.subscribe('new', () => {}), 'from'],
    ['an iterator that gathers batches', () => topic.subscribe('g', { batch: { max: 5 } } as never), 'batch'],
    ['subscribing to nothing', () => mq.subscribe([], 'g', () => {}), 'topics'],
    ['subscribing to a name', () => mq.subscribe(['t'] as never, 'g', () => {}), 'topics'],
    ['trimming a partition that is not there', () => topic.trim(2, 0), 'partition'],
    ['seeking nowhere', () => subscription.seek('there' as never), 'to'],
    ['looking up no time', () => topic.offsetsAt(-1), 'timestamp'],
  ])('%s is refused', async (_what, run, option) => {
    expect(await outcome(run)).toMatchObject({ code: 'INVALID_OPTION', option })
  })

  test('defaults are those of the documentation', async () => {
    expect(resolveSubscribeOptions('g', undefined).dispatch).toEqual({
      group: 'g',
      ordering: 'key',
      concurrency: 16,
      onGap: 'error',
      maxBufferedMessages: 10_000,
      maxBufferedBytes: 33_554_432,
      maxDeferredMessages: 4_000_000,
      retry: {
        attempts: 10,
        onExhausted: 'dead-letter',
        backoff: { type: 'exponential', delayMs: 100, maxDelayMs: 30_000, jitter: 0.2 },
        retryable: undefined,
      },
      batch: undefined,
      ackMode: 'after',
      timeLimit: undefined,
    })
    expect(await resolveTopicOptions(undefined)).toMatchObject({
      maxValueBytes: 1_048_576,
      maxKeyBytes: 1024,
      maxHeadersBytes: 16_384,
      maxBatchBytes: 16_777_216,
      validate: 'send',
    })
  })

  test('a long delay raises the longest wait with it', () => {
    const { retry } = resolveSubscribeOptions('g', { backoff: { delayMs: 60_000 } }).dispatch
    expect(retry.backoff.maxDelayMs).toBe(60_000)
  })

  test('delays given alone are exact, and the caller keeps its list', () => {
    const delays = [1, 50_000]
    const { backoff } = resolveSubscribeOptions('g', { backoff: delays }).dispatch.retry
    delays[0] = 2
    expect(backoff).toEqual({ type: 'exponential', delayMs: [1, 50_000], maxDelayMs: 50_000, jitter: 0 })
    const choose = (): number => 5
    expect(resolveSubscribeOptions('g', { backoff: choose }).dispatch.retry.backoff).toMatchObject({
      delayMs: choose,
      maxDelayMs: dayMs,
      jitter: 0,
    })
  })
})

describe('names', () => {
  test.each(['', '.', '..', 'with space', 'slash/es', 'ü', 'a\n', 'x'.repeat(250), 5, null, undefined])(
    'a topic can not be called %j',
    async (name) => {
      expect(await outcome(() => mq.topic(name as string))).toMatchObject({ code: 'INVALID_NAME', option: 'topic' })
    },
  )

  test.each([
    '',
    'lanemq.mine',
    'tab\there',
    'nul\0',
    'del\u007f',
    '\u0085',
    'x'.repeat(250),
    '\ud800',
    5,
    null,
    undefined,
  ])('a group can not be called %j', async (name) => {
    const error = await outcome(() => topic.subscribe(name as string, () => {}, { from: 'earliest' }))
    expect(error).toMatchObject({ code: 'INVALID_NAME', option: 'group' })
  })

  test('groups in retention are checked too', () => {
    expect(() => resolveRetention({ consumedBy: ['ok', ''] })).toThrow(
      expect.objectContaining({ code: 'INVALID_NAME' }),
    )
  })

  test('the longest and the strangest good names work', async () => {
    for (const name of ['x'.repeat(249), '...', '-', '_a.B-9']) expect((await mq.topic(name)).name).toBe(name)
    const group = await topic.subscribe(`Grüße 🎉 ${'x'.repeat(200)}`, () => {}, { from: 'latest' })
    await group.close()
  })
})
