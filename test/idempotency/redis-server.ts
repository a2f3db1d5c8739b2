import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, connect, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** Why no test can have a Redis of its own here; `undefined` when it can. */
export const noRedis: string | undefined =
  spawnSync('redis-server', ['--version']).status === 0 ? undefined : 'there is no redis-server on this machine'

/** The title of tests that need one, with the reason when they are skipped. */
export function titleOf(title: string): string {
  return noRedis === undefined ? title : `${title} (skipped: ${noRedis})`
}

/** A Redis of a test's own, on a loopback port that nobody else uses. */
export class RedisServer {
  readonly port: number
  readonly #directory: string
  readonly #settings: readonly string[]
  #process: ChildProcess | undefined

  private constructor(port: number, settings: readonly string[]) {
    this.port = port
    this.#directory = mkdtempSync(join(tmpdir(), 'lanemq-redis-'))
    this.#settings = settings
  }

  /** Starts one that keeps nothing, unless the settings say so. */
  static async start(...settings: string[]): Promise<RedisServer> {
    for (let attempt = 1; ; attempt++) {
      const server = new RedisServer(await freePort(), settings)
      try {
        await server.start()
        return server
      } catch (error) {
        await server.dispose()
        // Another process may have taken the port meanwhile.
        if (attempt === 3) throw error
      }
    }
  }

  /** One that writes down each change before it answers. */
  static async startDurable(): Promise<RedisServer> {
    return RedisServer.start('--appendonly', 'yes', '--appendfsync', 'always')
  }

  /** Starts it, again after a stop, and waits until it answers. */
  async start(): Promise<void> {
    const fixed = ['--port', `${this.port}`, '--bind', '127.0.0.1', '--dir', this.#directory, '--save', '']
    const child = spawn('redis-server', [...fixed, ...this.#settings], { stdio: 'ignore' })
    this.#process = child
    // A run that is broken off leaves no server behind.
    const kill = (): boolean => child.kill('SIGKILL')
    process.once('exit', kill)
    child.once('exit', () => process.off('exit', kill))
    for (let waited = 0; !(await answers(this.port)); waited += 20) {
      if (child.exitCode !== null) throw new Error(`redis-server ended with code ${child.exitCode}`)
      if (waited > 20_000) throw new Error('redis-server does not answer')
      await sleep(20)
    }
  }

  /** Stops it as a crash does. */
  async stop(): Promise<void> {
    const child = this.#process
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const ended = new Promise((resolve) => child.once('exit', resolve))
    child.kill('SIGKILL')
    await ended
  }

  /** Lets it stand still, as a machine does that swaps, and go on. */
  pause(isPaused: boolean): void {
    this.#process?.kill(isPaused ? 'SIGSTOP' : 'SIGCONT')
  }

  async dispose(): Promise<void> {
    await this.stop()
    rmSync(this.#directory, { recursive: true, force: true })
  }
}

/** Whether a server that has loaded its data is there. */
async function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => socket.write('PING\r\n'))
    socket.once('data', (data) => {
      socket.destroy()
      // One that wants a password answers too.
      resolve(/^(\+PONG|-NOAUTH)/.test(String(data)))
    })
    socket.once('error', () => resolve(false))
  })
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}
