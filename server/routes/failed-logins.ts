/** Logins that fail: how many an address may have before it is turned away unheard, and what is written down of them. */
import type { FastifyRequest } from 'fastify';
import { FairleadError } from '../../shared/errors.ts';
import { Tally } from '../tally.ts';
import type { Api } from './app-types.ts';
import type { ApiDeps } from './deps.ts';
import { counter, meter } from './limits.ts';

export interface FailedLogins {
  /**
   * To be asked before anything that a request shows is checked. When there are too many failures in total, an address
   * may have but one; whoever has none is let in all the same, so that a flood shuts nobody out who holds a good token.
   * @throws FairleadError RATE_LIMITED
   */
  admit(request: FastifyRequest): Promise<void>;
  /** Counts a login that failed, and writes it down as far as there is room for it. */
  note(request: FastifyRequest): Promise<void>;
}

export function failedLogins(api: Api, { audit, clock, limits }: Pick<ApiDeps, 'audit' | 'clock' | 'limits'>) {
  const ofAddress = counter(api, 'refusedLoginsPerMinute', limits);
  const inTotal = counter(api, 'refusedLoginsPerMinuteInTotal', limits, true);
  const rows = meter(api, 'refusalRowsPerMinute', limits, true);
  const left = new Tally(clock, (suppressed) =>
    audit.recordOrLog({ actor: 'system', action: 'login', result: 'refused', detail: { suppressed } }),
  );
  api.addHook('onClose', () => left.flush());
  const failed: FailedLogins = {
    async admit(request) {
      const own = await ofAddress.read(request);
      const isOne = own.count < ofAddress.max && (own.count === 0 || (await inTotal.read(request)).count < inTotal.max);
      if (isOne) return;
      left.add();
      const detail = 'too many logins from this address failed; nothing of it is looked at until they are a minute old';
      throw new FairleadError('RATE_LIMITED', detail, { retryAfterSeconds: own.leftSeconds });
    },
    async note(request) {
      await ofAddress.add(request);
      await inTotal.add(request);
      if ((await rows(request)) !== undefined) left.add();
      else await audit.recordOrLog({ actor: 'anonymous', address: request.ip, action: 'login', result: 'refused' });
    },
  };
  return failed;
}
