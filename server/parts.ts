/** What every part of the server is made of, and how it is taken down again. */
import type { Logger } from 'pino';
import type { Clock } from '../shared/clock.ts';
import type { ServerConfig } from './config.ts';

/** In the data directory: where the server is reached, while it runs. */
export const RUNTIME_FILE = 'runtime.json';

/** What was opened, in this order; it is closed in the opposite one. */
export type Closers = (() => Promise<unknown> | unknown)[];

export interface PartOptions {
  readonly config: ServerConfig;
  readonly clock: Clock;
  readonly log: Logger;
  /** A number in [0, 1). */
  readonly random: () => number;
  readonly closers: Closers;
}
