/** What the store keeps of a partition beside its batches, once it was trimmed. */
export interface PartitionRow {
  /** First offset that can be read. */
  readonly start: number
  /** Bytes ever appended, and the last timestamp: known from the last batch, unless all of them were removed. */
  readonly bytes: number
  readonly timestamp: number
}

export function writePartitionRow(row: PartitionRow): Buffer {
  const value = Buffer.allocUnsafe(24)
  value.writeDoubleLE(row.start, 0)
  value.writeDoubleLE(row.bytes, 8)
  value.writeDoubleLE(row.timestamp, 16)
  return value
}

export function readPartitionRow(value: Uint8Array): PartitionRow {
  const row = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  return { start: row.readDoubleLE(0), bytes: row.readDoubleLE(8), timestamp: row.readDoubleLE(16) }
}
