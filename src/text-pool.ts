/** How many texts are remembered. */
const capacity = 256

/** Lets equal texts share their memory: thousands of messages fail for one reason. What it remembers is bounded. */
export class TextPool {
  readonly #known = new Map<string, string>()

  share(text: string): string {
    const known = this.#known.get(text)
    if (known !== undefined) return known
    if (this.#known.size >= capacity) this.#known.delete(this.#known.keys().next().value!)
    this.#known.set(text, text)
    return text
  }
}
