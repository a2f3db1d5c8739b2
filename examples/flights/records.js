import { fileURLToPath } from 'node:url'
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects } from 'hyparquet'
import { compressors } from 'hyparquet-compressors'

/**
 * One flight of the United States in the first half of 2001, as the npm package `vega-datasets` carries them.
 *
 * @typedef {object} Flight
 * @property {number} date Departure by the schedule, in milliseconds since 1970 (local time of the airport, whole minutes).
 * @property {number} delay Minutes; negative when it left early.
 * @property {number} distance Miles.
 * @property {string} origin Code of the airport, three letters.
 * @property {string} destination
 */

/** How many flights the file holds. */
export const ALL = 3_000_000

/** Flights later than this are worth an alert, in minutes. */
export const LATE = 60

const file = fileURLToPath(new URL('../data/flights-3m.parquet', import.meta.resolve('vega-datasets')))

/**
 * The flights from number `start` to `end` (exclusive) in the order of the file, which is that of their dates: some 270,000
 * at a time, because that is how the file is divided.
 *
 * @param {number} start
 * @param {number} end
 * @returns {AsyncGenerator<Flight[]>}
 */
export async function* readFlights(start, end) {
  const buffer = await asyncBufferFromFile(file)
  const metadata = await parquetMetadataAsync(buffer)
  let from = 0
  for (const group of metadata.row_groups) {
    const to = from + Number(group.num_rows)
    const rowStart = Math.max(from, start)
    const rowEnd = Math.min(to, end)
    if (rowStart < rowEnd) {
      const rows = await parquetReadObjects({ file: buffer, metadata, compressors, rowStart, rowEnd })
      yield rows.map(toFlight)
    }
    from = to
  }
}

/** Parquet's 64-bit integers arrive as BigInt, its timestamps as Date. */
function toFlight({ date, delay, distance, origin, destination }) {
  return { date: date.getTime(), delay: Number(delay), distance: Number(distance), origin, destination }
}
