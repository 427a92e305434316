/** A host made up for the tests of the routes. */
import { Duplex, PassThrough } from 'node:stream';
import type { HostLink, LinkDescription, LinkStream } from '../../../../server/hosts/host-link.ts';
import type { HostRecord } from '../../../../server/routes/deps/hosts.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import type { StreamKind } from '../../../../shared/messages/kind.ts';

export const NOW = Date.parse('2026-01-02T03:04:05Z');

export const HOST: HostRecord = {
  id: '0b7e3c1e-58f7-4a52-9f0e-6a2f0d3c9a11',
  name: 'edge-1',
  kind: 'native',
  state: 'online',
  os: 'linux',
  arch: 'x64',
  agentVersion: '0.1.0',
  tags: ['lab', 'eu'],
  docker: { reachable: true, version: '20.10' },
  createdAt: NOW,
  lastSeenAt: NOW,
  connectedAt: NOW,
  certificate: { serial: 'AB12', notAfter: NOW + 1000 },
};

/** One duplex of two ways. */
function joined(readable: PassThrough, writable: PassThrough): Duplex {
  return Duplex.from({ readable, writable } as unknown as Parameters<typeof Duplex.from>[0]);
}

/** A call or a stream that a fake host was asked for. */
export interface Asked {
  kind: string;
  params: Record<string, unknown>;
  timeoutMs?: number | undefined;
  stream: FakeStream;
}

/** The host's side of a stream. */
export class FakeStream {
  /** What the server wrote. */
  readonly input = new PassThrough();
  /** What the host writes. */
  readonly output = new PassThrough();
  readonly bytes: Duplex;
  readonly signals: unknown[] = [];
  readonly trailer = Promise.withResolvers<unknown>();
  readonly wasReset = Promise.withResolvers<FairleadError>();
  itemList: AsyncIterable<unknown> | Iterable<unknown> = [];
  resetWith: FairleadError | undefined;

  constructor(signal: AbortSignal | undefined) {
    this.bytes = joined(this.output, this.input);
    this.bytes.on('error', () => undefined);
    this.trailer.promise.catch(() => undefined);
    signal?.addEventListener('abort', () => this.interrupt(signal.reason));
  }

  /** What a lost connection or a reset does to a stream. */
  interrupt(error: FairleadError): void {
    this.resetWith ??= error;
    this.wasReset.resolve(error);
    this.bytes.destroy(error);
    this.trailer.reject(error);
  }
}

/** What a fake host answers; what it throws is the answer, too. */
export type Answer = (asked: Asked) => unknown;

/** A host that answers each kind as `answers` says; a thrown error is the answer, too. */
export class FakeHost implements HostLink {
  readonly hostId: string = HOST.id;
  readonly instanceId: string = 'process-1';
  readonly asked: Asked[] = [];
  readonly closed = new Promise<FairleadError>(() => undefined);
  readonly answers: Record<string, Answer>;

  constructor(answers: Record<string, Answer> = {}) {
    this.answers = answers;
  }

  call: HostLink['call'] = async (kind, params, options) => {
    return (await this.#ask(kind, params, options)).reply as never;
  };

  open: HostLink['open'] = async (kind, params, options) => {
    const { asked, reply } = await this.#ask(kind, params, options, options?.feed);
    const { stream } = asked;
    return {
      reply,
      bytes: stream.bytes,
      items: async function* () {
        yield* stream.itemList;
      },
      trailer: stream.trailer.promise,
      signal: (value: unknown) => stream.signals.push(value),
      reset: (error: FairleadError) => stream.interrupt(error),
      closed: stream.wasReset.promise,
    } as unknown as LinkStream<typeof kind>;
  };

  /** What pings meet, one after the other; the last one again and again. */
  pings: (number | FairleadError)[] = [new FairleadError('UNSUPPORTED', 'a fake host answers no ping')];

  async ping(): Promise<number> {
    const [next] = this.pings.length > 1 ? this.pings.splice(0, 1) : this.pings;
    if (typeof next !== 'number') throw next;
    return next;
  }

  traffic(): undefined {
    return undefined;
  }

  describe(): LinkDescription {
    return { capabilities: Object.keys(this.answers) } as unknown as LinkDescription;
  }

  close(): void {
    throw new Error('no test asks for it');
  }

  async #ask(
    kind: StreamKind,
    params: unknown,
    options: Parameters<HostLink['call']>[2],
    feed?: (bytes: Duplex) => void,
  ) {
    const stream = new FakeStream(options?.signal);
    feed?.(stream.bytes);
    const asked = { kind: kind.name, params: params as Asked['params'], timeoutMs: options?.timeoutMs, stream };
    this.asked.push(asked);
    const answer = this.answers[kind.name];
    if (answer === undefined) throw new FairleadError('UNSUPPORTED', `the host has no ${kind.name}`);
    return { asked, reply: await answer(asked) };
  }
}

/** A frame of Docker's multiplexed output. */
export function frame(stream: 1 | 2, text: string | Buffer): Buffer {
  const body = Buffer.from(text);
  const head = Buffer.alloc(8);
  head.writeUInt8(stream, 0);
  head.writeUInt32BE(body.length, 4);
  return Buffer.concat([head, body]);
}
