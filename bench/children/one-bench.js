// Runs one bench, so that the heaps and compiled code of benches do not mix; started by lib/run-bench.js.

import { createContext } from '../lib/context.js'

const { name, ...options } = JSON.parse(process.argv[2])
const bench = await import(`../${name}.js`)
const rows = await bench.run(createContext(options))
// Ends the process as soon as the parent has the rows; leaving by exit() writes the CPU profile too.
process.send(rows, () => process.exit(0))
