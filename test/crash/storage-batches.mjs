// What the children of the storage tests write, and the check that everything acknowledged is there and nothing is torn.

/** Entries of a batch stay for this many batches, so that pages are freed and used again. */
const kept = 40
const bigEntries = 20_000

/** Batch `id` has entries of its own, a record of how many, and removes those of an old batch. */
export function makeBatch(storage, id) {
  const batch = storage.batch()
  const count = entriesOf(id)
  for (let i = 0; i < count; i++) batch.put('log', logKey(id, i), valueOf(id, i))
  batch.put('progress', number(id), number(count))
  if (id >= kept) for (let i = 0; i < entriesOf(id - kept); i++) batch.remove('log', logKey(id - kept, i))
  return batch
}

export function isBig(id) {
  return id % 12 === 11
}

/** @returns the number of whole batches; throws when one is missing, torn or has wrong bytes. */
export function checkBatches(storage) {
  const all = { from: Buffer.alloc(1), to: Buffer.alloc(9, 0xff), limit: 1_000_000 }
  const records = storage.range('progress', all)
  records.forEach(({ key }, id) => {
    if (Buffer.from(key).readUInt32BE(0) !== id) throw new Error(`batch ${id} is missing, ${records.length} are there`)
  })
  const count = records.length
  let expected = 0
  for (let id = Math.max(0, count - kept); id < count; id++) {
    expected += entriesOf(id)
    for (let i = 0; i < entriesOf(id); i += isBig(id) ? 97 : 1) {
      const value = storage.get('log', logKey(id, i))
      if (value === undefined || !valueOf(id, i).equals(value)) throw new Error(`entry ${i} of batch ${id} is wrong`)
    }
  }
  const stored = storage.keys('log', all).length
  if (stored !== expected) throw new Error(`${stored} entries instead of ${expected}: a batch is torn`)
  return count
}

function entriesOf(id) {
  return isBig(id) ? bigEntries : 1 + ((id * 7) % 30)
}

function valueOf(id, i) {
  return Buffer.alloc(isBig(id) ? 200 : ((id * 31 + i * 17) % 97) * 40, id + i)
}

function logKey(id, i) {
  const key = Buffer.alloc(8)
  key.writeUInt32BE(id, 0)
  key.writeUInt32BE(i, 4)
  return key
}

function number(value) {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}
