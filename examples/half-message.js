// Half messages: what is prepared is on disk and seen by nobody until it is committed. So a message and a change in another
// database happen both or not at all: whoever finds a message that nobody decided about asks that database.
import { openTest } from 'lanemq/testing'

// The other database: it outlives the process.
const paid = new Set()
const sent = []
let till

async function wire(mq) {
  const payments = await mq.topic('payments')
  await payments.subscribe('mail', ({ key }) => void sent.push(key), { from: 'earliest' })
  // Asked about what an earlier process left, and about what waits for longer than a minute.
  const checker = ({ key }) => {
    const answer = paid.has(key) ? 'commit' : 'rollback'
    console.log(`${key}: ${answer}`)
    return answer
  }
  till = await mq.producer({ name: 'till', checker })
  return { payments }
}

const test = await openTest({ wire })
const prepare = (key) => test.resolve(till.prepare(test.wired.payments, { key, value: { cents: 250 } }))

// When nothing goes wrong.
const first = await prepare('p-1')
await test.settle()
console.log(sent) // => []
paid.add('p-1')
await test.resolve(first.commit())
await test.drain()
console.log(sent) // => [ 'p-1' ]

// The process dies when p-2 is paid and nobody was told, and p-3 is not paid yet.
await prepare('p-2')
paid.add('p-2')
await prepare('p-3')
test.crash('power')

await test.restart() // the same store and the same database; the checker is asked
await test.drain()
// => p-2: commit
// => p-3: rollback
console.log(sent) // => [ 'p-1', 'p-2' ]

const left = []
for await (const { key } of till.prepared()) left.push(key)
console.log(left) // => []
await test.dispose()
