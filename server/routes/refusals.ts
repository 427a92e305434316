/** Refusals in the audit log: rows up to a limit, and beyond it one a minute that says how many have none of their own. */
import type { FastifyRequest } from 'fastify';
import { Tally } from '../tally.ts';
import type { Api } from './app-types.ts';
import type { AuditEntry } from './deps/audit.ts';
import type { ApiDeps, ApiLimits } from './deps.ts';
import { meter } from './limits.ts';

export interface RefusalLogOptions {
  /** The action of the row that counts those without one. */
  readonly action: string;
  /** How many an address may have a minute, before it is told to wait in place of why it was refused. */
  readonly perAddress: keyof ApiLimits;
  /** Whoever is refused is told why however often it happens: the limits are of rows alone. */
  readonly answerStays?: boolean;
}

/**
 * Makes what is to be called for each refusal. It writes `entry`, if there is one and the limits allow it: whoever is
 * refused needs no token, and must not be able to fill the disk. It throws FairleadError RATE_LIMITED once the address has too
 * many, unless the answer stays. The limit over all addresses is one of rows, not of answers: a flood from elsewhere changes
 * nothing of what anybody is told.
 */
export function refusalLog(
  api: Api,
  { audit, clock, limits }: Pick<ApiDeps, 'audit' | 'clock' | 'limits'>,
  { action, perAddress, answerStays = false }: RefusalLogOptions,
): (request: FastifyRequest, entry?: AuditEntry) => Promise<void> {
  const ofAddress = meter(api, perAddress, limits);
  const rows = meter(api, 'refusalRowsPerMinute', limits, true);
  const left = new Tally(clock, (suppressed) =>
    audit.recordOrLog({ actor: 'system', action, result: 'refused', detail: { suppressed } }),
  );
  api.addHook('onClose', () => left.flush());
  return async (request, entry) => {
    const excess = await ofAddress(request);
    if (excess !== undefined || (await rows(request)) !== undefined) left.add();
    else if (entry !== undefined) await audit.recordOrLog(entry);
    if (excess !== undefined && !answerStays) throw excess;
  };
}
