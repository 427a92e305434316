/**
 * A Dockhand server's end of Edge mode for tests, made from what real ones were seen to do: it welcomes whoever has the token,
 * sends headers of no kind, and says `message` where agents say `error`.
 */
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { type WebSocket, WebSocketServer } from 'ws';
import { type Cleanup, defer } from './tmp.ts';
import { waitFor } from './wait.ts';

// biome-ignore lint/suspicious/noExplicitAny: tests look into messages of every sort
type Message = any;

/** One connection of an agent. */
class DockhandSession {
  readonly ws: WebSocket;
  readonly received: Message[] = [];
  closedWith: number | undefined;

  constructor(ws: WebSocket) {
    this.ws = ws;
    ws.on('message', (data: Buffer) => this.received.push(JSON.parse(data.toString())));
    ws.once('close', (code) => {
      this.closedWith = code;
    });
  }

  say(message: object): void {
    this.ws.send(JSON.stringify(message));
  }

  ofType(type: string): Message[] {
    return this.received.filter((message) => message.type === type);
  }

  /** Resolves with the first message of a type. */
  async heard(type: string, fits: (message: Message) => boolean = () => true): Promise<Message> {
    return await waitFor(`a ${type}`, () => this.ofType(type).find(fits), {
      context: () => JSON.stringify(this.received).slice(0, 2_000),
    });
  }

  /** Puts a request as dockhand does, and resolves with its response. */
  async ask(method: string, path: string, body?: unknown): Promise<Message> {
    const requestId = randomUUID();
    this.say({ type: 'request', requestId, method, path, headers: {}, body, streaming: false, isBinary: false });
    return await this.heard('response', (message) => message.requestId === requestId);
  }
}

export class DockhandServer {
  readonly sessions: DockhandSession[] = [];
  /** Says what a server says to a hello; a welcome unless it is set. */
  greet: (session: DockhandSession, hello: Message) => void;
  readonly #server: WebSocketServer;
  readonly #token: string;

  private constructor(server: WebSocketServer, token: string) {
    this.#server = server;
    this.#token = token;
    this.greet = (session, hello) => this.#welcome(session, hello);
    server.on('connection', (ws) => {
      const session = new DockhandSession(ws);
      this.sessions.push(session);
      ws.once('message', () => this.greet(session, session.received[0]));
    });
  }

  static async start(cleanup: Cleanup, token: string): Promise<DockhandServer> {
    const server = new WebSocketServer({ host: '127.0.0.1', port: 0, path: '/api/hawser/connect' });
    await once(server, 'listening');
    defer(cleanup, () => {
      for (const client of server.clients) client.terminate();
      return new Promise<void>((resolve) => server.close(() => resolve()));
    });
    return new DockhandServer(server, token);
  }

  get url(): string {
    return `ws://127.0.0.1:${(this.#server.address() as AddressInfo).port}/api/hawser/connect`;
  }

  /** Resolves with the session of that number once its agent has said hello. */
  async session(at = 0): Promise<DockhandSession> {
    const session = await waitFor('a session', () => this.sessions[at]);
    await session.heard('hello');
    return session;
  }

  #welcome(session: DockhandSession, { token }: Message): void {
    if (token === this.#token) return void session.say({ type: 'welcome', serverId: 'dockhand', version: '1.0' });
    session.say({ type: 'error', message: 'Invalid token' });
    session.ws.close(1008, 'Invalid token');
  }
}
