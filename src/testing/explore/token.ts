import { TestError } from '../test-error.ts'
import type { Deviation } from './deviation.ts'

/** Everything that a run needs to be run again. */
export interface Replay {
  /** Of the exploration, so that a token is not used for another one. */
  readonly name: string
  /** Seed of the scenario's inputs. */
  readonly seed: number
  readonly isGated: boolean
  readonly deviations: readonly Deviation[]
}

/** The environment variable that holds a token. */
export const replayVariable = 'LANEMQ_REPLAY'

/** Raised when tokens of before can't be read any more. */
const version = 1

export function encodeToken({ name, seed, isGated, deviations }: Replay): string {
  const text = JSON.stringify({ n: name, s: seed, g: isGated ? 1 : 0, d: deviations })
  return `lanemq${version}.${Buffer.from(text).toString('base64url')}`
}

/** @throws `REPLAY_TOKEN` when it is damaged or of another version */
export function decodeToken(token: string): Replay {
  const [head, body] = token.trim().split('.', 2)
  const seen = /^lanemq(\d+)$/.exec(head ?? '')?.[1]
  if (seen === undefined || body === undefined) {
    throw new TestError('REPLAY_TOKEN', `${replayVariable} is not a token: it begins with lanemq${version}.`)
  }
  if (Number(seen) !== version) {
    throw new TestError(
      'REPLAY_TOKEN',
      `${replayVariable} is a token of version ${seen}, this package reads version ${version}: explore again`,
    )
  }
  try {
    const { n, s, g, d } = JSON.parse(Buffer.from(body, 'base64url').toString()) as {
      n: string
      s: number
      g: number
      d: Deviation[]
    }
    if (typeof n !== 'string' || !Number.isInteger(s) || !Array.isArray(d)) throw new TypeError('a field is missing')
    if (!d.every(isDeviation)) throw new TypeError('a deviation is none')
    return { name: n, seed: s, isGated: g === 1, deviations: d }
  } catch (cause) {
    throw new TestError('REPLAY_TOKEN', `${replayVariable} is damaged: copy the whole token`, { cause })
  }
}

function isDeviation(value: unknown): value is Deviation {
  if (typeof value !== 'object' || value === null) return false
  const { kind, at, nth, instead, fault, times } = value as Record<string, unknown>
  if (typeof at !== 'string' || !Number.isInteger(nth)) return false
  if (kind === 'hold') return true
  if (kind === 'run') return typeof instead === 'string'
  const hasKind = typeof fault === 'object' && fault !== null && faultKinds.includes((fault as { kind?: unknown }).kind)
  return kind === 'fault' && hasKind && Number.isInteger(times)
}

const faultKinds: readonly unknown[] = ['crash', 'error', 'slow', 'hang', 'duplicate', 'join', 'leave', 'full', 'jump']
