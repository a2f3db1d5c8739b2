import { partitionOf } from 'lanemq'
import { addFlight, emptyAccount } from './accounts.js'
import { LATE, readFlights } from './records.js'

/**
 * What must come out, computed straight from the file without any queue. A topic that keeps its promises has, in every
 * partition, the flights of that partition in the order of the file: so a partition and an offset name one flight.
 */
export class Truth {
  /** @type {Map<string, import('./accounts.js').Account>} By airport. */
  accounts = new Map()
  flights = 0
  /** Sum of all delays, in minutes. */
  delay = 0
  /** Flights that deserve an alert. */
  late = 0

  /** By partition and offset: the flight's place in the columns. */
  #places
  #columns
  #names = []
  #numbers = new Map()

  /**
   * @param {number} count
   * @param {number} partitions
   */
  constructor(count, partitions) {
    this.#places = Array.from({ length: partitions }, () => [])
    this.#columns = {
      date: new Float64Array(count),
      delay: new Int16Array(count),
      distance: new Int16Array(count),
      origin: new Int16Array(count),
      destination: new Int16Array(count),
    }
  }

  /**
   * @param {number} count
   * @param {number} partitions
   */
  static async of(count, partitions) {
    const truth = new Truth(count, partitions)
    for await (const flights of readFlights(0, count)) for (const flight of flights) truth.#add(flight)
    return truth
  }

  get longestGap() {
    return Math.max(...[...this.accounts.values()].map((account) => account.longestGap))
  }

  /** How many airports there are, with those where flights only arrive. */
  get airports() {
    return this.#names.length
  }

  /** How many flights each partition gets. */
  get sizes() {
    return this.sizesOfFirst(this.flights)
  }

  /** How many of the first `count` flights each partition gets. */
  sizesOfFirst(count) {
    return this.#places.map((places) => {
      const after = places.findIndex((place) => place >= count)
      return after === -1 ? places.length : after
    })
  }

  /**
   * The accounts as they are when each airport has had so many of its flights, in the order of the file.
   *
   * @param {Map<string, number>} flightsByAirport
   */
  accountsAfter(flightsByAirport) {
    const accounts = new Map([...flightsByAirport.keys()].map((code) => [code, emptyAccount()]))
    const { date, delay, origin } = this.#columns
    for (let place = 0; place < this.flights; place++) {
      const code = this.#names[origin[place]]
      const account = accounts.get(code)
      if (account === undefined || account.flights >= flightsByAirport.get(code)) continue
      addFlight(account, { date: date[place], delay: delay[place] })
    }
    return accounts
  }

  /** The number of the airport that a flight leaves from: from 0, below {@link airports}. */
  airportAt(partition, offset) {
    return this.#columns.origin[this.#places[partition][offset]]
  }

  /** @returns {import('./records.js').Flight} */
  flightAt(partition, offset) {
    const place = this.#places[partition][offset]
    const { date, delay, distance, origin, destination } = this.#columns
    return {
      date: date[place],
      delay: delay[place],
      distance: distance[place],
      origin: this.#names[origin[place]],
      destination: this.#names[destination[place]],
    }
  }

  isLateAt(partition, offset) {
    return this.#columns.delay[this.#places[partition][offset]] > LATE
  }

  #add(flight) {
    const place = this.flights++
    const columns = this.#columns
    columns.date[place] = flight.date
    columns.delay[place] = flight.delay
    columns.distance[place] = flight.distance
    columns.origin[place] = this.#number(flight.origin)
    columns.destination[place] = this.#number(flight.destination)
    this.#places[partitionOf(flight.origin, this.#places.length)].push(place)

    let account = this.accounts.get(flight.origin)
    if (account === undefined) this.accounts.set(flight.origin, (account = emptyAccount()))
    addFlight(account, flight)
    this.delay += flight.delay
    if (flight.delay > LATE) this.late++
  }

  #number(code) {
    let number = this.#numbers.get(code)
    if (number === undefined) {
      number = this.#names.push(code) - 1
      this.#numbers.set(code, number)
    }
    return number
  }
}
