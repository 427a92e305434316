/** One question to Docker's API, as the agent itself asks it. */

export interface DockerCall {
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** Without the query; its variable parts are escaped by `dockerPath`. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number>>;
  readonly body?: Readonly<Record<string, unknown>>;
  /** Ends the exchange, its streamed answer included. */
  readonly signal?: AbortSignal | undefined;
  /** Time for the answer: for its head where the body is streamed, else for all of it. 30 s unless given. */
  readonly timeoutMs?: number;
  /** The largest answer taken in, where it is taken in whole. 4 MiB unless given. */
  readonly maxBytes?: number;
}

/** What the host's policy looks at of a question. */
export interface AskedCall {
  readonly method: string;
  readonly path: string;
}

/** A question whose body is sent as it comes. */
export interface UploadCall {
  readonly method: 'POST' | 'PUT';
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly contentType: string;
  /** Ends the exchange. */
  readonly signal?: AbortSignal | undefined;
}

/** A path of Docker's API; the values are escaped, so that none can reach another path. */
export function dockerPath(strings: TemplateStringsArray, ...values: string[]): string {
  return String.raw({ raw: strings }, ...values.map(encodeURIComponent));
}

/** The path of an image: its name may have slashes, which stay as they are, since an escaped one is no part of a name. */
export function imagePath(name: string, verb = ''): string {
  return `/images/${name.split('/').map(encodeURIComponent).join('/')}${verb}`;
}

/** Filters as a query has them; none: nothing. */
export function filtersQuery(filters: Readonly<Record<string, readonly string[]>> = {}): { filters?: string } {
  return Object.keys(filters).length === 0 ? {} : { filters: JSON.stringify(filters) };
}
