import type { DeadLetters, Message } from '../../src/index.ts'
import type { PlantedEngine } from './planted-engine.ts'
import type { Scene } from './scene.ts'
import { Stage } from './stage.ts'

/** A group that gives everything up until it is told otherwise. */
class Worker {
  readonly stage: Stage
  isWilling = false
  readonly done: string[] = []

  constructor(stage: Stage) {
    this.stage = stage
  }

  static async begin(engine: PlantedEngine, ...values: string[]): Promise<Worker> {
    const worker = new Worker(await Stage.open(engine))
    const topic = await worker.stage.topicOf(...values)
    const handle = ({ value }: Message<string>): void => {
      if (!worker.isWilling) throw new Error('not yet')
      worker.done.push(value)
    }
    await worker.stage.run(topic.subscribe('g', handle, { from: 'earliest', attempts: 1 }))
    await worker.stage.settle()
    return worker
  }

  get letters(): DeadLetters {
    return this.stage.mq.group('g').deadLetters('t')
  }

  async redrive(limit?: number): Promise<void> {
    await this.stage.run(this.letters.redrive(limit === undefined ? {} : { limit }))
    await this.stage.settle()
  }
}

/** A scene for each planted bug of letters that are sent back. */
export const redriveScenes: Readonly<Record<string, Scene>> = {
  'redrive-out-of-order': {
    right: ['a:1', 'a:2'],
    wrong: ['a:2', 'a:1'],
    async play(engine) {
      const worker = await Worker.begin(engine, 'a:1', 'a:2')
      await worker.redrive(1)
      worker.isWilling = true
      await worker.redrive()
      return worker.done
    },
  },
  'redrive-without-progress': {
    right: ['a:1'],
    wrong: ['a:1', 'a:1'],
    async play(engine) {
      const worker = await Worker.begin(engine, 'a:1')
      worker.isWilling = true
      await worker.redrive()
      await worker.redrive()
      return worker.done
    },
  },
}
