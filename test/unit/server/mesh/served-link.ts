/** A session of the server in memory whose agent serves streams as a test says. */
import { systemClock } from '../../../../shared/clock.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import { CATALOGUE } from '../../../../shared/messages/index.ts';
import type { ControlKind } from '../../../../shared/messages/kind.ts';
import { Session } from '../../../../shared/mux/session.ts';
import type { MuxStream } from '../../../../shared/mux/stream.ts';
import { memoryPair } from '../../../support/memory-pair.ts';
import { greet } from '../../../support/mux.ts';
import { type Cleanup, defer } from '../../../support/tmp.ts';

export interface Served {
  readonly server: Session;
  readonly agent: Session;
}

/** Two sessions, ready. A handler that fails leaves its stream to the other end. */
export async function serveStreams(
  cleanup: Cleanup,
  handle: (stream: MuxStream) => Promise<void>,
  onControl: (kind: ControlKind, value: unknown) => void = () => undefined,
): Promise<Served> {
  const link = memoryPair();
  const shared = { catalogue: CATALOGUE, clock: systemClock };
  const refuse = () => {
    throw new Error('the agent opened a stream');
  };
  const server = new Session({ ...shared, side: 'server', transport: link.server, onStream: refuse, onControl });
  const agent = new Session({
    ...{ ...shared, side: 'agent', transport: link.agent, onControl: () => undefined },
    onStream: (stream) => void handle(stream).catch(() => undefined),
  });
  await greet({ server, agent });
  defer(cleanup, () => server.destroy(new FairleadError('SHUTDOWN', 'the test is over')));
  return { server, agent };
}
