// A Redis for one example: started here, on a port that nobody else uses, and gone with the process.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'

/** A connected client and `stop`; ends the program with a line that begins with "skipped" where there is no Redis. */
export async function startRedis() {
  if (spawnSync('redis-server', ['--version']).status !== 0) {
    console.log('skipped: there is no redis-server on this machine')
    process.exit(0)
  }
  const port = await freePort()
  const directory = mkdtempSync(join(tmpdir(), 'lanemq-redis-'))
  const settings = ['--appendonly', 'yes', '--appendfsync', 'always'] // what was confirmed outlives a crash
  const place = ['--port', String(port), '--bind', '127.0.0.1', '--dir', directory]
  const server = spawn('redis-server', [...place, ...settings], { stdio: 'ignore' })
  process.once('exit', () => server.kill('SIGKILL'))
  // Tried again every 50 ms until the server listens, for at most 10 s.
  const client = new Redis({
    port,
    host: '127.0.0.1',
    retryStrategy: (attempt) => (attempt < 200 ? 50 : undefined),
    maxRetriesPerRequest: 200,
  })
  client.on('error', () => {})
  await client.ping()
  const stop = async () => {
    client.disconnect()
    const ended = once(server, 'exit')
    server.kill()
    await ended
    rmSync(directory, { recursive: true })
  }
  return { client, stop }
}

async function freePort() {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address()
  probe.close()
  await once(probe, 'close')
  return port
}
