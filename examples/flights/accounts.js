/**
 * The running account of one airport. Its longest gap is only right when the airport's flights come in their order,
 * because it looks at two consecutive ones.
 *
 * @typedef {object} Account
 * @property {number} flights
 * @property {number} delay Sum, in minutes.
 * @property {number} departure The latest one, in minutes since 1970.
 * @property {number} longestGap Between two consecutive departures, in minutes.
 */

/** @returns {Account} */
export function emptyAccount() {
  return { flights: 0, delay: 0, departure: 0, longestGap: 0 }
}

/**
 * @param {Account} account
 * @param {import('./records.js').Flight} flight
 */
export function addFlight(account, { date, delay }) {
  const departure = date / 60_000
  if (account.flights > 0) account.longestGap = Math.max(account.longestGap, Math.abs(departure - account.departure))
  account.flights++
  account.delay += delay
  account.departure = departure
}

/**
 * @param {Account} a
 * @param {Account} b
 */
export function isSameAccount(a, b) {
  return a.flights === b.flights && a.delay === b.delay && a.departure === b.departure && a.longestGap === b.longestGap
}
