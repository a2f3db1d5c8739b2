// Opens an LMDB file and says how long that took.

import { open } from 'lmdb'

const [path] = process.argv.slice(2)
const start = performance.now()
const root = open({ path, noSubdir: true, overlappingSync: false, encoding: 'binary', keyEncoding: 'binary' })
process.send(performance.now() - start)
await root.close()
