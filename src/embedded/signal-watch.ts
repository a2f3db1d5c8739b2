/** Many calls that wait for the same signals, with one listener for each signal: a crowd of them is no leak. */
export class SignalWatch {
  readonly #watched = new Map<AbortSignal, { readonly calls: Set<() => void>; readonly listener: () => void }>()

  /** Calls `call` once when the signal is aborted. */
  add(signal: AbortSignal, call: () => void): void {
    let watched = this.#watched.get(signal)
    if (watched === undefined) {
      const calls = new Set<() => void>()
      const listener = (): void => {
        this.#watched.delete(signal)
        for (const each of calls) each()
      }
      signal.addEventListener('abort', listener, { once: true })
      this.#watched.set(signal, (watched = { calls, listener }))
    }
    watched.calls.add(call)
  }

  remove(signal: AbortSignal, call: () => void): void {
    const watched = this.#watched.get(signal)
    if (!watched?.calls.delete(call) || watched.calls.size > 0) return
    signal.removeEventListener('abort', watched.listener)
    this.#watched.delete(signal)
  }
}
