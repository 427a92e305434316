/** A host whose agent of Hawser answers by a script: the link of the server, over the messages of Edge mode. */
import { EdgeTransport } from '../../../../server/hawser/edge-transport.ts';
import { HawserLink } from '../../../../server/hawser/hawser-link.ts';
import { EDGE_KINDS } from '../../../../server/hawser/kinds.ts';
import { HawserSession } from '../../../../server/hawser/session.ts';
import { neverSent } from '../../../../server/hawser/unary.ts';
import { Once } from '../../../../shared/once.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import type { Cleanup } from '../../../support/tmp.ts';
import { FakeSocket, type Message } from './fake-socket.ts';

/** What an agent says to a request: Docker's answer, bytes of a stream that then ends, or nothing. */
export type Said =
  | { readonly status?: number; readonly body?: unknown }
  | { readonly bytes: readonly (Buffer | string)[] }
  | undefined;

export interface ScriptedOptions {
  readonly capabilities?: readonly string[];
  readonly version?: string;
  /** Called for each request, whose path is without its query. */
  answer(request: Message, query: URLSearchParams, socket: FakeSocket): Said;
}

export function scriptedHost(cleanup: Cleanup, options: ScriptedOptions) {
  const { capabilities = ['exec', 'metrics', 'events', 'compose'], version = '0.2.14', answer } = options;
  const socket = new FakeSocket();
  const clock = new FakeClock();
  const lines: string[] = [];
  const write = (...args: unknown[]) => void lines.push(JSON.stringify(args));
  const log = { debug: write, info: write, warn: write, error: write };
  const session = new HawserSession({ ws: socket.ws, clock, log });
  const hello = {
    ...{ type: 'hello' as const, version, protocol: '1.0', agentId: 'a', agentName: 'lab', hostname: 'vm' },
    ...{ dockerVersion: '20.10.24', capabilities: [...capabilities] },
  };
  const once = new Once({ clock, undone: neverSent });
  const transport = new EdgeTransport(session);
  const link = new HawserLink({ hostId: 'h', transport, kinds: EDGE_KINDS, hello, once, log, connectedAt: 0 });
  cleanup.after(() => link.close('SHUTDOWN', 'the test is over'));
  const requests: Message[] = [];
  socket.on('sent', () => {
    const message = socket.sent.at(-1);
    if (message.type !== 'request') return;
    const [path, query = ''] = message.path.split('?');
    const request = { ...message, path };
    requests.push(request);
    queueMicrotask(() => say(socket, message.requestId, answer(request, new URLSearchParams(query), socket)));
  });
  return { socket, clock, session, link, requests, lines };
}

export function say(socket: FakeSocket, requestId: string, said: Said): void {
  if (said === undefined) return;
  if ('bytes' in said) {
    for (const bytes of said.bytes) {
      socket.say({ type: 'stream', requestId, data: Buffer.from(bytes as string).toString('base64') });
    }
    socket.say({ type: 'stream_end', requestId, reason: 'completed' });
    return;
  }
  const { status = 200, body } = said;
  const text = body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) };
  socket.say({ type: 'response', requestId, statusCode: status, headers: {}, ...text });
}

/** A frame of Docker's logs. */
export function logFrame(text: string): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt8(1, 0);
  head.writeUInt32BE(Buffer.byteLength(text), 4);
  return Buffer.concat([head, Buffer.from(text)]);
}
