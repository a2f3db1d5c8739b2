/** The part of the Standard Schema contract (version 1) that is used here; any library that implements it fits. */
export interface StandardSchema<V> {
  readonly '~standard': {
    readonly version: 1
    readonly vendor: string
    /** Checks a value, and may change it; what it gives back is stored. It has to answer at once here. */
    validate(value: unknown): StandardResult<V> | Promise<StandardResult<V>>
  }
}

/** What a schema answers: the value, or the issues it found. */
export type StandardResult<V> =
  | { readonly value: V; readonly issues?: undefined }
  | { readonly issues: ReadonlyArray<{ readonly message: string; readonly path?: ReadonlyArray<unknown> | undefined }> }
