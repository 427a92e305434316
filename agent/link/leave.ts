/** Tells the server, over a session of its own, that this host leaves the mesh. */
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import { hostLeave } from '../../shared/messages/host.ts';
import type { Session } from '../../shared/mux/session.ts';
import { type ConnectOptions, connect } from './connect.ts';

const LEAVE_TIMEOUT_MS = 15_000;
/** How long the server may take to end the session after it has answered. */
const FAREWELL_MS = 1_000;

/**
 * Has the server revoke this host. Resolves as well when it has been revoked before.
 * @throws UnreachableError, FairleadError
 */
export async function leave(options: Omit<ConnectOptions, 'onStream' | 'signal'>, reason: string): Promise<void> {
  try {
    await ask(options, reason);
  } catch (error) {
    if (!isFairleadError(error, 'CERT_REVOKED')) throw error;
  }
}

async function ask(options: Omit<ConnectOptions, 'onStream' | 'signal'>, reason: string): Promise<void> {
  const refuse = new FairleadError('SHUTDOWN', 'this host is leaving the mesh');
  const { session } = await connect({ ...options, onStream: (stream) => stream.reset(refuse) });
  const late = options.clock.setTimeout(() => {
    session.destroy(new FairleadError('TIMEOUT', 'the server did not confirm in time that this host leaves'));
  }, LEAVE_TIMEOUT_MS);
  try {
    const stream = session.open(hostLeave, { reason });
    await stream.reply.catch((error: unknown) => closedByRevocation(session, error));
    await session.goaway({ code: 'SHUTDOWN', reason, deadlineMs: FAREWELL_MS });
  } finally {
    late.cancel();
    session.destroy(refuse);
  }
}

/** The server may end a revoked host's session before its answer is through. @throws unless that is what happened */
async function closedByRevocation(session: Session, error: unknown): Promise<void> {
  if (!isFairleadError(error, 'STREAM_INTERRUPTED')) throw error;
  const end = await session.closed;
  if (end.code !== 'CERT_REVOKED') throw new FairleadError(end.code, end.reason);
}
