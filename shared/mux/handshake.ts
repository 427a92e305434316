/** The greeting: the agent's hello, the server's choice of a version, and its welcome. */
import { FairleadError } from '../errors.ts';
import { type Hello, hello, type Welcome } from '../messages/control.ts';
import { PROTOCOL_VERSIONS } from '../messages/index.ts';
import { DEFLATE } from './deflate.ts';
import type { Session } from './session.ts';

/** The compressions that this version unpacks, for a hello. */
export const COMPRESSIONS: readonly string[] = [DEFLATE];

/** What a welcome answers to the compressions that a hello names. */
export function chosenCompression(value: Hello): Pick<Welcome, 'compression'> {
  return value.compression?.includes(DEFLATE) === true ? { compression: DEFLATE } : {};
}

/**
 * The agent's side: says hello and waits for the welcome, after which the session is ready.
 * @throws FairleadError with the code of the server's goaway (VERSION, CERT_REVOKED, …), TIMEOUT, or STREAM_INTERRUPTED
 */
export async function greetServer(session: Session, value: Hello): Promise<Welcome> {
  session.sendControl(hello, value);
  const welcome = (await greetingInTime(session, 'welcome')) as Welcome;
  if (value.versions.includes(welcome.version)) return welcome;
  const error = new FairleadError('VERSION', `the server chose version ${welcome.version}, which was not offered`);
  session.refuse({ code: error.code, reason: error.message, versions: value.versions });
  throw error;
}

/**
 * The server's side: waits for the hello and picks the highest common version. The caller then sends the welcome,
 * which makes the session ready.
 * @throws FairleadError VERSION if there is no common one (the agent has been told), TIMEOUT, or why the session ended
 */
export async function receiveHello(
  session: Session,
  versions: readonly number[] = PROTOCOL_VERSIONS,
): Promise<{ hello: Hello; version: number }> {
  const value = (await greetingInTime(session, 'hello')) as Hello;
  const common = value.versions.filter((version) => versions.includes(version));
  if (common.length > 0) return { hello: value, version: Math.max(...common) };
  const reason = `this server speaks ${versions.join(', ')}, the agent ${value.versions.join(', ')}`;
  session.refuse({ code: 'VERSION', reason, versions: [...versions] });
  throw new FairleadError('VERSION', reason);
}

async function greetingInTime(session: Session, what: string): Promise<Hello | Welcome> {
  const timer = session.clock.setTimeout(() => {
    session.destroy(new FairleadError('TIMEOUT', `no ${what} within ${session.helloTimeoutMs} ms`));
  }, session.helloTimeoutMs);
  try {
    return await session.greeting;
  } finally {
    timer.cancel();
  }
}
