/** Enough hexadecimal digits for every time that a date can have. */
const timeDigits = 13

/** A key of an index by time, for what a key of another space names; a time that has passed every bound stands last. */
export function expiryKey(endsAt: number, key: string): string {
  return (
    Math.ceil(Math.min(endsAt, 2 ** 52 - 1))
      .toString(16)
      .padStart(timeDigits, '0') + key
  )
}

/** Where the entries of an index end whose time has come. */
export function endOfExpired(now: number): string {
  // The next millisecond's first key is the end of those of this one.
  return expiryKey(now + 1, '')
}

/** What an {@link expiryKey} names. */
export function keyInExpiry(entry: string): string {
  return entry.slice(timeDigits)
}
