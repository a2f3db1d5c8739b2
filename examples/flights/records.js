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
 * The first `count` flights in the order of the file, which is that of their dates: some 270,000 at a time, because that
 * is how the file is divided.
 *
 * @param {number} count
 * @returns {AsyncGenerator<Flight[]>}
 */
export async function* readFlights(count) {
  const buffer = await asyncBufferFromFile(file)
  const metadata = await parquetMetadataAsync(buffer)
  let rowStart = 0
  for (const group of metadata.row_groups) {
    if (rowStart >= count) return
    const rowEnd = Math.min(rowStart + Number(group.num_rows), count)
    const rows = await parquetReadObjects({ file: buffer, metadata, compressors, rowStart, rowEnd })
    yield rows.map(toFlight)
    rowStart += Number(group.num_rows)
  }
}

/** Parquet's 64-bit integers arrive as BigInt, its timestamps as Date. */
function toFlight({ date, delay, distance, origin, destination }) {
  return { date: date.getTime(), delay: Number(delay), distance: Number(distance), origin, destination }
}
