import { parseArgs } from 'node:util'
import { ALL } from './records.js'

/** What the command line says; ends the process with 2 when that makes no sense. */
export function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        all: { type: 'boolean', default: false },
        records: { type: 'string', default: '1000000' },
        json: { type: 'boolean', default: false },
        keep: { type: 'string' },
        check: { type: 'string' },
      },
    })
    return { ...values, records: values.all ? ALL : readCount(values.records) }
  } catch (error) {
    console.error(error.message)
    return process.exit(2)
  }
}

function readCount(text) {
  const count = Number(text)
  if (Number.isInteger(count) && count >= 1_000 && count <= ALL) return count
  throw new RangeError(`--records must be a whole number from 1000 to ${ALL}, not '${text}'`)
}
