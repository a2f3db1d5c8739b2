// Hello: open a queue in a directory, consume a topic, send to it, close.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { open } from 'lanemq'

const path = mkdtempSync(join(tmpdir(), 'lanemq-'))
const mq = await open({ path })
const greetings = await mq.topic('greetings')

const printer = await greetings.subscribe('printer', ({ offset, value }) => console.log(offset, value.text), {
  from: 'earliest',
})

// Each send is on disk when its promise resolves.
await greetings.send({ value: { text: 'hello' } }) // => 0 hello
const { partition, offset, acks } = await greetings.send({ value: { text: 'world' } }) // => 1 world

await printer.idle()
console.log(`stored in partition ${partition} at offset ${offset}: ${acks}`) // => stored in partition 0 at offset 1: flushed

await mq.close()
rmSync(path, { recursive: true })
