import assert from 'node:assert/strict'
import { brokerFeatures, type BrokerCase, type BrokerFeature, type BrokerUnderTest } from './broker-case.ts'
import { effectCases } from './broker-effects.ts'
import { groupCases } from './broker-groups.ts'
import { logCases } from './broker-log.ts'
import { memberCases } from './broker-members.ts'
import { casesOf, type ConformanceCase, type ConformanceSubject } from './conformance.ts'

/** A broker and what it can do. */
export type BrokerSubject = ConformanceSubject<BrokerUnderTest, BrokerFeature>

/** Clients trust the capabilities at the door, so they have to be true. */
const capabilityCases: readonly BrokerCase[] = [
  {
    name: 'a durable broker says so',
    requires: 'durable',
    run: async ({ broker }) => assert.equal(broker.capabilities.durable, true),
  },
  {
    name: 'a broker that is not durable says so',
    unless: 'durable',
    run: async ({ broker }) => assert.equal(broker.capabilities.durable, false),
  },
  {
    name: 'a broker with exact progress says so',
    requires: 'exactProgress',
    run: async ({ broker }) => assert.equal(broker.capabilities.exactProgress, true),
  },
  {
    name: 'a broker without exact progress says so',
    unless: 'exactProgress',
    run: async ({ broker }) => assert.equal(broker.capabilities.exactProgress, false),
  },
]

/** What every `Broker` must do; see {@link ConformanceCase} for how a test runner takes it. */
export function brokerSuite(subject: BrokerSubject): ConformanceCase<BrokerFeature>[] {
  return casesOf(
    [...capabilityCases, ...logCases, ...groupCases, ...memberCases, ...effectCases],
    subject,
    brokerFeatures,
  )
}
