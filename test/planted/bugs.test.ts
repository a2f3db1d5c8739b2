import { existsSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { bugs, type PlantedBug } from './bugs.ts'
import { patch, plantedEngine, type PlantedEngine } from './planted-engine.ts'
import { scenes } from './scenes.ts'

describe('planted bugs', () => {
  let sound: PlantedEngine

  beforeAll(async () => {
    sound = await plantedEngine(undefined)
  })
  afterAll(() => {
    sound.remove()
    expect(existsSync(sound.directory)).toBe(false)
  })

  test('each has a name and a scene of its own', () => {
    expect(Object.keys(scenes).toSorted()).toEqual(bugs.map(({ name }) => name).toSorted())
  })

  for (const bug of bugs) {
    test(`${bug.name}: ${bug.about}`, async () => {
      const scene = scenes[bug.name]!
      expect(await scene.play(sound)).toEqual(scene.right)
      const engine = await plantedEngine(bug)
      try {
        expect(await scene.play(engine)).toEqual(scene.wrong)
      } finally {
        engine.remove()
      }
      expect(existsSync(engine.directory)).toBe(false)
    })
  }

  test('a bug whose text is not there exactly once is refused', async () => {
    const bug: PlantedBug = { ...bugs[0]!, find: 'no such text' }
    await expect(plantedEngine(bug)).rejects.toThrow(`${bug.name} does not fit: its text is 0 times in src/${bug.file}`)
    expect(() => patch('a a', { ...bug, find: 'a' })).toThrow('its text is 2 times')
    expect(patch('a b', { ...bug, find: 'a', replace: '$& $1' })).toBe('$& $1 b')
  })
})
