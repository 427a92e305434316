/** The handlers behind a real session, in memory: what the server's end opens, the agent's end serves. */
import { HANDLERS, type HandlerContext } from '../../../../agent/handlers/index.ts';
import { systemClock } from '../../../../shared/clock.ts';
import { FairleadError, fromWireError, toWireError } from '../../../../shared/errors.ts';
import { CATALOGUE } from '../../../../shared/messages/index.ts';
import type { Params, StreamKind } from '../../../../shared/messages/kind.ts';
import { Session } from '../../../../shared/mux/session.ts';
import type { MuxStream } from '../../../../shared/mux/stream.ts';
import { memoryPair } from '../../../support/memory-pair.ts';
import { greet } from '../../../support/mux.ts';
import { type Cleanup, defer } from '../../../support/tmp.ts';

/** A stream as its opener has it. */
export interface Opened<K extends StreamKind> {
  readonly stream: MuxStream<K>;
  /** Settles as its handler does. */
  readonly done: Promise<void>;
  /** The opener leaves. */
  leave(): void;
}

export interface Served {
  readonly server: Session;
  open<K extends StreamKind>(kind: K, params: Params<K>): Opened<K>;
  /** Opens, and reads the one reply. */
  call<K extends StreamKind>(kind: K, params: Params<K>): MuxStream<K>['reply'];
}

/** Two sessions, ready, with all handlers at the agent's end. */
export async function serve(cleanup: Cleanup, context: HandlerContext): Promise<Served> {
  const handled = new Map<number, PromiseWithResolvers<void>>();
  const outcomeOf = (id: number) => {
    let outcome = handled.get(id);
    if (outcome === undefined) {
      outcome = Promise.withResolvers<void>();
      outcome.promise.catch(() => undefined);
      handled.set(id, outcome);
    }
    return outcome;
  };
  const onStream = (stream: MuxStream) => {
    const handler = HANDLERS.get(stream.kind.code);
    if (handler === undefined) throw new Error(`no handler serves ${stream.kind.name}`);
    const { resolve, reject } = outcomeOf(stream.id);
    handler(stream, context).then(resolve, (error: unknown) => {
      stream.reset(error instanceof FairleadError ? error : fromWireError(toWireError(error)));
      reject(error);
    });
  };
  const link = memoryPair();
  const shared = { catalogue: CATALOGUE, clock: systemClock, onControl: () => undefined };
  const refuse = () => {
    throw new Error('the agent opened a stream');
  };
  const server = new Session({ ...shared, side: 'server', transport: link.server, onStream: refuse });
  const agent = new Session({ ...shared, side: 'agent', transport: link.agent, onStream });
  await greet({ server, agent });
  defer(cleanup, () => server.destroy(new FairleadError('SHUTDOWN', 'the test is over')));
  const open = <K extends StreamKind>(kind: K, params: Params<K>): Opened<K> => {
    const stream = server.open(kind, params);
    const leave = () => stream.reset(new FairleadError('CANCELLED', 'the opener left'));
    return { stream, done: outcomeOf(stream.id).promise, leave };
  };
  return { server, open, call: (kind, params) => open(kind, params).stream.reply };
}
