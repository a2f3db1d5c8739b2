import { describe, expect, test } from 'vitest'
import type { Membership, Settlement } from '../../../src/contracts/broker.ts'
import { Acknowledgement } from '../../../src/dispatch/acknowledgement.ts'
import { Settler } from '../../../src/dispatch/settler.ts'
import { QueueError } from '../../../src/errors.ts'
import { VirtualRuntime } from '../../../src/testing/virtual-runtime.ts'
import type { PartitionIntake } from '../../../src/dispatch/partition-intake.ts'
import { fakeIntake } from './fake-intake.ts'

describe('settling', () => {
  test('FENCE-49: an acknowledgement is refused when its partition has another owner, those of others are not', async () => {
    const [mine, others] = [fakeIntake({ number: 0 }), fakeIntake({ number: 1 })]
    const settle = ({ partitions }: Settlement): Promise<void> =>
      partitions.some(({ assignment }) => assignment === others.assignment)
        ? Promise.reject(new QueueError('FENCED', 'another owner'))
        : Promise.resolve()
    const settler = new Settler(
      new VirtualRuntime(),
      () => [mine, others],
      () => {},
      () => {},
    )
    settler.membership = { settle } as Membership
    const outcomes: string[] = []
    for (const [name, intake] of Object.entries({ mine, others })) {
      intake.finish(0, 1)
      settler.unsettled++
      const settled = (): unknown => outcomes.push(`${name} settled`)
      const refused = (error: QueueError): unknown => outcomes.push(`${name} ${error.code}`)
      settler.acknowledge(intake, new Acknowledgement(true, settled, refused as (error: unknown) => void))
    }
    expect(outcomes).toEqual([])
    await settler.flush()
    expect(outcomes).toEqual(['mine settled', 'others FENCED'])
  })
})

test('a flush waits for the effects that were accepted while a settlement was under way', async () => {
  const underWay: (() => void)[] = []
  const settler = new Settler(
    new VirtualRuntime(),
    () => [],
    () => {},
    (error) => expect.unreachable(error.message),
  )
  settler.membership = {
    settle: () => new Promise<void>((resolve) => underWay.push(resolve)),
    accept: () => ({ results: [], bytes: 0 }),
  } as unknown as Membership
  const accept = (offset: number): void => {
    const entry = { intake: { assignment: {} } as PartitionIntake, offset, key: undefined, attempt: 1 }
    expect(settler.accept([entry], { outputs: [], parts: [] })).toBeUndefined()
  }
  const told: string[] = []
  accept(0)
  void settler.flush().then(() => told.push('first'))
  accept(1)
  void settler.flush().then(() => told.push('second'))
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
  underWay.shift()!()
  await turn()
  expect(told).toEqual(['first'])
  underWay.shift()!()
  await turn()
  expect(told).toEqual(['first', 'second'])
})
