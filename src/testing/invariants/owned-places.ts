import type { EventChecks } from './invariant.ts'
import type { HistoryEvent } from '../history.ts'
import { GroupMap } from './place-map.ts'

/** One partition of one group: who may hand out its messages. */
export class OwnedPlace {
  owner: string | undefined
  /** Of the owner; 0 while there is none. */
  fence = 0
  /** Of an owner that was lost and followed by no other: what it settles may still be taken. */
  lostFence = 0
  /** Whether it was ever granted, so that its first position is known. */
  isKnown = false
  /** Number of the event with which its progress began, or was moved: what was settled before counts no more. */
  since = -1
  /** The life of the last grant. */
  life = 0

  /** Whether the engine may take a settlement with this fence. */
  accepts(fence: number): boolean {
    return fence !== 0 && (fence === this.fence || fence === this.lostFence)
  }

  free(): void {
    this.owner = undefined
    this.fence = 0
  }
}

/**
 * The checks of an invariant beside those that keep the owners; later ones replace earlier ones of the same kind. (Written as
 * one literal, a key that comes twice makes V8 invent a hidden class for every single object.)
 */
export function withOwners(owners: EventChecks, ...more: readonly EventChecks[]): EventChecks {
  return Object.assign({}, owners, ...more) as EventChecks
}

/** Follows who owns which partition. */
export class OwnedPlaces<P extends OwnedPlace> extends GroupMap<P> {
  granted({ group, topic, partition, member, fence, life }: HistoryEvent<'granted'>): P {
    const place = this.at(group, topic, partition)
    place.owner = member
    place.fence = fence
    place.lostFence = 0
    place.life = life
    return place
  }

  /**
   * The checks that keep the owners; an invariant that looks at one of these kinds itself has to call it.
   *
   * @param freed - told of a partition whose owner is gone without having settled everything
   */
  follow(
    freed?: (place: P) => void,
  ): Required<
    Pick<EventChecks, 'released' | 'left' | 'lost' | 'crash' | 'topic:created' | 'topic:deleted' | 'group:deleted'>
  > {
    const forget = ({ topic }: { readonly topic: string }): void => this.forget(topic)
    return {
      released: ({ group, topic, partition, fence }) => {
        const place = this.at(group, topic, partition)
        // A late release of someone who was lost or abandoned says nothing of the present owner.
        if (place.fence === fence) place.free()
        if (place.lostFence === fence) place.lostFence = 0
      },
      left: ({ group, member, abandoned }) => {
        if (abandoned) this.#freeAll(group, member, false, freed)
      },
      lost: ({ group, member }) => this.#freeAll(group, member, true, freed),
      crash: ({ life }) => this.endLives(life + 1, freed),
      // A topic of the same name is another one; what came late from the old one is forgotten too.
      'topic:created': forget,
      'topic:deleted': forget,
      'group:deleted': ({ group }) => this.forgetGroup(group),
    }
  }

  /** No life before this one has an owner: a restart may follow a crash or a close. */
  endLives(before: number, freed?: (place: P) => void): void {
    this.forEach((place) => {
      if (place.life >= before) return
      place.free()
      place.lostFence = 0
      freed?.(place)
    })
  }

  #freeAll(group: string, member: string, isLost: boolean, freed: ((place: P) => void) | undefined): void {
    this.of(group)?.forEach((place) => {
      if (place.owner !== member) return
      if (isLost) place.lostFence = place.fence
      place.free()
      freed?.(place)
    })
  }
}
