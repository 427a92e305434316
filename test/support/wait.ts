/** Waiting for something to become true, with a deadline and without guessing how long it takes. */
import { setTimeout as sleep } from 'node:timers/promises';

export interface WaitOptions {
  /** Time until the wait fails, 10 s unless given. */
  timeoutMs?: number;
  /** Time between two looks. */
  everyMs?: number;
  /** What to add to the error: logs, the last state. */
  context?: () => string;
  /** Why waiting on is pointless, once it is. */
  failed?: () => string | undefined;
}

/**
 * Asks until `condition` answers something other than undefined or false, and returns that. A thrown error counts as
 * "not yet"; the last one is the cause of the failure.
 * @throws Error that names `what` after the deadline.
 */
export async function waitFor<T>(
  what: string,
  condition: () => T | undefined | false | Promise<T | undefined | false>,
  options: WaitOptions = {},
): Promise<T> {
  const { timeoutMs = 10_000, everyMs = 20, context, failed } = options;
  const deadline = performance.now() + timeoutMs;
  let cause: unknown;
  for (;;) {
    try {
      const answer = await condition();
      if (answer !== undefined && answer !== false) return answer;
    } catch (error) {
      cause = error;
    }
    const failure = failed?.();
    if (failure !== undefined) throw new Error(`no ${what}: ${failure}${context ? `\n${context()}` : ''}`, { cause });
    if (performance.now() > deadline) break;
    await sleep(everyMs);
  }
  throw new Error(`waited ${timeoutMs} ms in vain for ${what}${context ? `\n${context()}` : ''}`, { cause });
}

/** Fails when `promise` has not settled in time. */
export async function within<T>(ms: number, what: string, promise: Promise<T>, context?: () => string): Promise<T> {
  const timeout = new AbortController();
  const late = sleep(ms, undefined, { signal: timeout.signal }).then(() => {
    throw new Error(`${what} took longer than ${ms} ms${context ? `\n${context()}` : ''}`);
  });
  late.catch(() => undefined); // the sleep that is called off below
  try {
    return await Promise.race([promise, late]);
  } finally {
    timeout.abort();
  }
}
