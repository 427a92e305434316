/** What services hand to the routes in common: times and pages. */

/** A time as services state it: ms since 1970, or RFC 3339. */
export type Time = number | string | Date;

export type Maybe<T> = T | null | undefined;

export interface Page {
  limit: number;
  cursor?: string;
}

export interface Paged<T> {
  readonly items: readonly T[];
  readonly nextCursor?: Maybe<string>;
}
