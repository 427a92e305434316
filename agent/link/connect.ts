/** From an identity to a session that the server has welcomed. */
import type { Clock } from '../../shared/clock.ts';
import { FairleadError, fromWireError, toWireError } from '../../shared/errors.ts';
import type { Hello, Welcome } from '../../shared/messages/control.ts';
import { CATALOGUE } from '../../shared/messages/index.ts';
import { greetServer } from '../../shared/mux/handshake.ts';
import { Session } from '../../shared/mux/session.ts';
import type { MuxStream } from '../../shared/mux/stream.ts';
import { wsTransport } from '../../shared/mux/ws-transport.ts';
import { type DialOptions, dial } from './dial.ts';

/** What to do with a control message of one kind. The value fits the kind's schema. */
export type ControlHandler = (value: unknown, session: Session) => void;

export interface ConnectOptions extends DialOptions {
  readonly clock: Clock;
  readonly hello: Hello;
  /** The server opened a stream. */
  readonly onStream: (stream: MuxStream) => void;
  /** What the server says on the control channel, by the code of its kind; the rest is ignored. */
  readonly controls?: ReadonlyMap<number, ControlHandler>;
}

export interface Connection {
  readonly session: Session;
  readonly welcome: Welcome;
}

/** Dials and greets. @throws UnreachableError, or FairleadError with the server's code (VERSION, CERT_REVOKED, …) */
export async function connect(options: ConnectOptions): Promise<Connection> {
  const ws = await dial(options);
  const session: Session = new Session({
    side: 'agent',
    transport: wsTransport(ws),
    catalogue: CATALOGUE,
    clock: options.clock,
    onStream: options.onStream,
    // Acknowledged heartbeats count as signs of life, which the session itself sees in every frame.
    onControl: (kind, value) => options.controls?.get(kind.code)?.(value, session),
  });
  const abort = () => session.destroy(new FairleadError('SHUTDOWN', 'the agent is stopping'));
  options.signal?.addEventListener('abort', abort, { once: true });
  try {
    const welcome = await greetServer(session, options.hello);
    return { session, welcome };
  } catch (error) {
    // Ended already, unless the hello itself could not be sent.
    session.destroy(fromWireError(toWireError(error)));
    throw error;
  } finally {
    options.signal?.removeEventListener('abort', abort);
  }
}
