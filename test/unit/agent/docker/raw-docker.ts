/** A Docker that is no HTTP server: it keeps the bytes that it is sent, and answers with those that a test says. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import {
  type BareConnection,
  beginExchange,
  type RawAnswer,
  type RawExchange,
  type RawRequest,
} from '../../../../shared/docker/raw-exchange.ts';
import { type Cleanup, defer, tempDir } from '../../../support/tmp.ts';
import { waitFor, within } from '../../../support/wait.ts';

/** One connection, as Docker has it. */
export class RawConnection {
  readonly socket: Socket;
  received = '';
  /** Whether its other end has closed its half. */
  hasEnded = false;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('error', () => undefined);
    socket.on('end', () => {
      this.hasEnded = true;
    });
    socket.on('data', (chunk: Buffer) => {
      this.received += chunk.toString('latin1');
    });
  }

  /** The first request's line and headers, as they came. */
  get head(): string {
    return this.received.split('\r\n\r\n', 1)[0] ?? '';
  }

  /** All that came behind them. */
  get body(): string {
    return this.received.slice(this.head.length + 4);
  }

  /** Resolves with the head once it is whole. */
  async request(): Promise<string> {
    await waitFor('a request', () => this.received.includes('\r\n\r\n'));
    return this.head;
  }

  /** Resolves once `text` has come behind the head. */
  async sent(text: string): Promise<void> {
    await waitFor(`${JSON.stringify(text)} to be sent`, () => this.body.includes(text), {
      context: () => this.received,
    });
  }

  /** Resolves once the other end has closed both halves. */
  async gone(): Promise<void> {
    const isGone = () => {
      // One who has closed his own half alone takes this.
      if (this.hasEnded) this.socket.write('?');
      return this.socket.destroyed;
    };
    await waitFor('the connection to be gone', isGone, { timeoutMs: 5_000, context: () => this.received });
  }

  write(...lines: string[]): void {
    this.socket.write(lines.join('\r\n'), 'latin1');
  }
}

export interface RawDocker {
  readonly socket: string;
  readonly connections: readonly RawConnection[];
  /** The connection that is made first, or is there. */
  connection(at?: number): Promise<RawConnection>;
}

export async function rawDocker(cleanup: Cleanup): Promise<RawDocker> {
  const socket = join(await tempDir(cleanup, 'docker'), 'docker.sock');
  const connections: RawConnection[] = [];
  const server = createServer({ allowHalfOpen: true }, (peer) => void connections.push(new RawConnection(peer)));
  server.listen(socket);
  await once(server, 'listening');
  defer(cleanup, () => {
    for (const connection of connections) connection.socket.destroy();
    server.close();
  });
  return { socket, connections, connection: (at = 0) => waitFor('a connection', () => connections[at]) };
}

/** An exchange under test, at both of its ends. */
export interface Begun {
  readonly exchange: RawExchange;
  readonly docker: RawConnection;
}

/** Begins an exchange; Docker has its head. GET /x without a body unless `request` says another. */
export async function begin(cleanup: Cleanup, request: Partial<RawRequest> = {}): Promise<Begun> {
  const docker = await rawDocker(cleanup);
  const plain: RawRequest = { method: 'GET', target: '/x', headers: [], body: 'none' };
  const exchange = beginExchange({ socketPath: docker.socket }, { ...plain, ...request });
  exchange.answer.catch(() => undefined);
  exchange.body.on('error', () => undefined);
  defer(cleanup, () => exchange.destroy());
  const connection = await docker.connection();
  await connection.request();
  return { exchange, docker: connection };
}

export function answerOf({ exchange }: Begun): Promise<RawAnswer> {
  return within(5_000, 'an answer', exchange.answer);
}

/** The body of an answer that is one. */
export async function bodyOf(begun: Begun): Promise<Readable> {
  const { connection, body } = await answerOf(begun);
  assert.equal(connection, undefined);
  return body ?? assert.fail('there is no body');
}

/** The connection that is the answer. */
export async function handedOver(begun: Begun): Promise<BareConnection> {
  const { connection, body } = await answerOf(begun);
  assert.equal(body, undefined);
  return connection ?? assert.fail('it was not handed over');
}
