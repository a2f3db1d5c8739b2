import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

/** Starts one of the programs beside the benches; it talks by `process.send`. @param {string} program @param {string[]} args */
export function start(program, args) {
  const path = fileURLToPath(new URL(`../children/${program}.js`, import.meta.url))
  const child = fork(path, args, { execArgv: [], stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  const exited = once(child, 'exit')
  return {
    /** The next message of the child; rejects when it dies instead. */
    async message() {
      const answer = await Promise.race([once(child, 'message'), exited.then(() => undefined)])
      if (!answer) throw new Error(`${program} ended with ${child.exitCode ?? child.signalCode}`)
      return answer[0]
    },
    /** SIGKILL, so that nothing of it gets a chance to clean up. */
    async kill() {
      child.kill('SIGKILL')
      await exited
    },
  }
}
