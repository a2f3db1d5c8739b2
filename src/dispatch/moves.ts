/** Lets callers wait until something holds that only changes when the loop moves: no polling, no timers. */
export class Moves {
  readonly #watchers = new Set<() => void>()

  /** Something moved: everyone who waits looks again. */
  tell(): void {
    if (this.#watchers.size === 0) return
    for (const look of [...this.#watchers]) look()
  }

  /** Resolves when `holds` answers true; asked now, and whenever something moved. */
  until(holds: () => boolean): Promise<void> {
    if (holds()) return Promise.resolve()
    return new Promise((resolve) => {
      const look = (): void => {
        if (!holds()) return
        this.#watchers.delete(look)
        resolve()
      }
      this.#watchers.add(look)
    })
  }
}
