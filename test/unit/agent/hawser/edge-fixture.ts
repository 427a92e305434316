/** A session of Edge mode whose server is in the test's hands. */
import { setImmediate as turn } from 'node:timers/promises';
import { EdgeSession } from '../../../../agent/hawser/edge-session.ts';
import { type Cleanup, defer } from '../../../support/tmp.ts';
import { FakeSocket } from '../../server/hawser/fake-socket.ts';
import type { Fixture } from './fixture.ts';

export interface OpenedEdge extends Fixture {
  readonly session: EdgeSession;
  /** What the agent says is sent to it; it says what the server does. */
  readonly socket: FakeSocket;
}

/** A session that the server has welcomed, unless it is to be silent. */
export async function openedEdge(cleanup: Cleanup, made: Fixture, { isWelcome = true } = {}): Promise<OpenedEdge> {
  const socket = new FakeSocket();
  const session = new EdgeSession(socket.ws, made.context);
  defer(cleanup, async () => {
    session.close(1000, 'SHUTDOWN', 'the test is over');
    await session.settled();
  });
  if (isWelcome) socket.say({ type: 'welcome', environmentId: 7 });
  await turn();
  return { ...made, session, socket };
}
