// A database for one example: SQLite where Node.js has it, else the PostgreSQL at the URL in LANEMQ_POSTGRES.

/** `run`, `isRepeat`, `close`, the `client` with its `dialect`; ends the program with a line that begins with "skipped" where there is no database. */
export async function openDatabase() {
  const sqlite = await import('node:sqlite').catch(() => {})
  if (sqlite) return sqliteDatabase(new sqlite.DatabaseSync(':memory:'))
  const url = process.env.LANEMQ_POSTGRES
  if (!url) skip('this Node.js has no node:sqlite, and LANEMQ_POSTGRES names no database')
  const { default: pg } = await import('pg')
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000 })
  client.on('error', () => {})
  await client.connect().catch(({ code, message }) => skip(`no PostgreSQL at LANEMQ_POSTGRES: ${code ?? message}`))
  return {
    dialect: 'postgres',
    client,
    /** Names a table that goes with the connection. */
    temporary: (table) => `pg_temp.${table}`,
    /** Runs a statement with values for `$1`, `$2` and so on, and returns its rows. */
    run: async (text, ...values) => (await client.query(text, values)).rows,
    /** Whether an error says that a unique key is there already. */
    isRepeat: ({ code }) => code === '23505',
    close: () => client.end(), // and with it goes what is temporary
  }
}

function sqliteDatabase(database) {
  return {
    dialect: 'sqlite',
    client: database,
    temporary: (table) => table,
    run: async (text, ...values) =>
      database.prepare(text).all(Object.fromEntries(values.map((value, i) => [`$${i + 1}`, value]))),
    isRepeat: ({ errcode }) => errcode === 2067 || errcode === 1555,
    close: () => database.close(),
  }
}

function skip(reason) {
  console.log(`skipped: ${reason}`)
  process.exit(0)
}
