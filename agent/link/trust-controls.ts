/** What the agent does when its server changes the roots that it is trusted by. */
import type { Logger } from 'pino';
import { isFairleadError, toWireError } from '../../shared/errors.ts';
import { type TrustUpdate, trustAck, trustUpdate } from '../../shared/messages/trust.ts';
import type { Session } from '../../shared/mux/session.ts';
import type { KnownRoots } from '../identity/known-roots.ts';
import type { ControlHandler } from './connect.ts';

/** The handlers of the control messages about trust, by their codes. */
export function trustControls(roots: KnownRoots, log: Logger): ReadonlyMap<number, ControlHandler> {
  /** Whether one is being stored; of those that come meanwhile the last one counts. */
  let waiting: { update: TrustUpdate; session: Session } | undefined;
  let isBusy = false;
  const work = async (): Promise<void> => {
    if (isBusy) return;
    isBusy = true;
    for (let next = waiting; next !== undefined; next = waiting) {
      waiting = undefined;
      await answer(roots, next.update, next.session, log);
    }
    isBusy = false;
  };
  const take: ControlHandler = (value, session) => {
    waiting = { update: value as TrustUpdate, session };
    void work();
  };
  return new Map([[trustUpdate.code, take]]);
}

/** Never rejects. */
async function answer(roots: KnownRoots, update: TrustUpdate, session: Session, log: Logger): Promise<void> {
  try {
    session.sendControl(trustAck, await roots.follow(update));
  } catch (error) {
    log.error({ err: error, code: toWireError(error).code }, 'what the server is to be trusted by was not taken over');
  }
}

/** Looks for the next root of a server that could not be verified. Never rejects. */
export async function catchUp(roots: KnownRoots, log: Logger): Promise<void> {
  try {
    if (await roots.catchUp()) log.info('the server has a new root, which the one known here endorses');
  } catch (error) {
    if (!isFairleadError(error)) log.error({ err: error }, 'the roots of the server could not be looked at');
    else log.debug({ code: error.code, reason: error.message }, 'the roots of the server could not be looked at');
  }
}
