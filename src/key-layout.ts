/**
 * Keys of the store's tables: fixed width, big-endian, so that byte order is number order. docs/storage-format.md has
 * them as a table; the first byte 0x00 of `meta` belongs to the storage driver.
 */

/** `log`: partition id (u32), base offset (u48). */
export function logKey(partitionId: number, offset: number): Buffer {
  const key = Buffer.allocUnsafe(10)
  key.writeUInt32BE(partitionId, 0)
  key.writeUIntBE(offset, 4, 6)
  return key
}

/** The base offset in a {@link logKey}. */
export function offsetOfLogKey(key: Uint8Array): number {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).readUIntBE(4, 6)
}

/** The largest offset that a key can hold; partitions end there. */
export const maxOffset: number = 2 ** 48 - 1

/**
 * `progress`: group id (u32), partition id (u32), then 0 for the position, 1 and a page number (u48), or 2 and the offset
 * (u48) of a message that failed.
 */
export function positionKey(groupId: number, partitionId: number): Buffer {
  const key = Buffer.alloc(9)
  key.writeUInt32BE(groupId, 0)
  key.writeUInt32BE(partitionId, 4)
  return key
}

export function pageKey(groupId: number, partitionId: number, page: number): Buffer {
  const key = Buffer.allocUnsafe(15)
  key.writeUInt32BE(groupId, 0)
  key.writeUInt32BE(partitionId, 4)
  key[8] = 1
  key.writeUIntBE(page, 9, 6)
  return key
}

/** The page number in a {@link pageKey}. */
export function pageOfKey(key: Uint8Array): number {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).readUIntBE(9, 6)
}

/** The pages of finished offsets that one group keeps for one partition lie before this key, the failed messages from it on. */
export function failedKey(groupId: number, partitionId: number, offset: number): Buffer {
  const key = pageKey(groupId, partitionId, offset)
  key[8] = 2
  return key
}

/** The offset in a {@link failedKey}. */
export function offsetOfFailedKey(key: Uint8Array): number {
  return pageOfKey(key)
}

/** `meta`: a kind byte and a number or name. */
const kind = { topic: 1, group: 2, partition: 3, counter: 4, removed: 5, store: 6, end: 7 } as const

export function topicKey(name: string): Buffer {
  return Buffer.concat([Buffer.of(kind.topic), Buffer.from(name, 'utf8')])
}

export function groupKey(name: string): Buffer {
  return Buffer.concat([Buffer.of(kind.group), Buffer.from(name, 'utf8')])
}

/** A store of the user's own state. */
export function storeKey(name: string): Buffer {
  return Buffer.concat([Buffer.of(kind.store), Buffer.from(name, 'utf8')])
}

/**
 * Spaces of the table `state` that belong to the engine; the first four bytes of a key are the number of its space. The
 * user's stores have numbers from the counter, which never gets that high.
 */
export const stateSpaces = {
  /** Ids of messages, by topic and time: see the dedupe window. */
  messageIds: 0xffff_ff01,
  /** Named producers. */
  producers: 0xffff_ff02,
  /** Prepared messages. */
  prepared: 0xffff_ff03,
  /** Idempotency marks. */
  marks: 0xffff_ff04,
  /** When idempotency marks expire. */
  markExpiry: 0xffff_ff05,
  /** When somebody is asked about prepared messages. */
  preparedDue: 0xffff_ff06,
  /** Idempotency marks of messages by their place in the log. */
  placeMarks: 0xffff_ff07,
  /** When those expire. */
  placeMarkExpiry: 0xffff_ff08,
} as const

/** `state`, ids of messages: their space (u32), topic (u32, the id of its first partition), number of the row (u48). */
export function messageIdsKey(topicId: number, row: number): Buffer {
  const key = Buffer.allocUnsafe(14)
  key.writeUInt32BE(stateSpaces.messageIds, 0)
  key.writeUInt32BE(topicId, 4)
  key.writeUIntBE(row, 8, 6)
  return key
}

/** The number of the row in a {@link messageIdsKey}. */
export function numberOfMessageIdsKey(key: Uint8Array): number {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).readUIntBE(8, 6)
}

/** Where a partition starts after trims. */
export function partitionKey(partitionId: number): Buffer {
  return numbered(kind.partition, partitionId)
}

/** The next free number for partitions and groups. */
export const counterKey: Buffer = Buffer.of(kind.counter)

/** Present while messages may be handed out: it tells the next owner of the store that this one was not closed. */
export const endKey: Buffer = Buffer.of(kind.end)

/** A partition whose topic is gone and whose batches still have to be removed. */
export function removedKey(partitionId: number): Buffer {
  return numbered(kind.removed, partitionId)
}

/** All keys of one kind. */
export function metaRange(of: keyof typeof kind): { from: Buffer; to: Buffer } {
  return { from: Buffer.of(kind[of]), to: Buffer.of(kind[of] + 1) }
}

function numbered(first: number, value: number): Buffer {
  const key = Buffer.allocUnsafe(5)
  key[0] = first
  key.writeUInt32BE(value, 1)
  return key
}
