/** What goes wrong on the caller's own side of the API, and how every failure reads on a terminal. */
import { FairleadError } from '../../shared/errors.ts';

/** A failure that has no API code: a file, the network, the terminal. `message` is what a person can act on. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly exitCode: 1 | 2;

  constructor(message: string, options: { exitCode?: 1 | 2; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.exitCode = options.exitCode ?? 1;
  }
}

/** A command line that cannot be carried out as it stands; exit code 2. */
export function usageError(message: string): CliError {
  return new CliError(message, { exitCode: 2 });
}

/** The one line that stands on stderr for `error`. */
export function describeError(error: unknown): string {
  if (error instanceof FairleadError) {
    const wait = error.code === 'RATE_LIMITED' ? error.retryAfterSeconds : undefined;
    const again = wait === undefined ? '' : `; try again in ${wait} s`;
    return `${error.message}${again} (${error.code})`;
  }
  return error instanceof Error ? error.message : String(error);
}

/** The exit code that `error` leads to. */
export function exitCodeOf(error: unknown): number {
  return error instanceof CliError ? error.exitCode : 1;
}

/** The `code` of a system or network error, if it has one. */
export function systemCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/** What a streamed answer that fails comes to: a connection that was cut is an interruption, never an end. */
export function brokenOff(error: unknown): unknown {
  const code = systemCode(error);
  if (code !== 'ECONNRESET' && code !== 'ERR_STREAM_PREMATURE_CLOSE') return error;
  const detail = 'the answer broke off: the server or the host was lost on the way, or the API token was revoked';
  return new FairleadError('STREAM_INTERRUPTED', detail, { cause: error });
}
