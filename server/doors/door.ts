/** What every connection passes before TLS: where it comes from, and whether there is room for it. */
import type { Socket } from 'node:net';
import type { Logger } from 'pino';
import type { Clock } from '../../shared/clock.ts';
import type { Balancers } from './balancers.ts';
import { HandshakeGate } from './handshake-gate.ts';
import { type HandshakeLimits, MAX_WITHOUT_PROXY_HEADER } from './limits.ts';
import { type PlaceLimits, Places } from './places.ts';
import { takeProxyHeader } from './proxied.ts';
import { connectionKey, type Endpoint, type Source, showSource } from './source.ts';

export interface DoorOptions {
  /** Begins with a connection that nobody has read from: its TLS handshake, or its first request. */
  readonly begin: (socket: Socket) => void;
  readonly clock: Pick<Clock, 'monotonic' | 'setTimeout'>;
  readonly log: Pick<Logger, 'debug' | 'warn'>;
  /** Those whose connections must begin with a PROXY header. */
  readonly balancers?: Balancers | undefined;
  readonly limits?: HandshakeLimits | undefined;
  /** For how many connections there is room once they have left the gate, too; no bound of the door's own unless given. */
  readonly places?: PlaceLimits | undefined;
}

export class Door {
  readonly #options: DoorOptions;
  readonly #gate: HandshakeGate;
  readonly #places: Places | undefined;
  /** Connections of balancers whose header has not come. */
  readonly #headless = new Set<Socket>();
  /** The real senders of the connections that come through a balancer, by connection; as many as are open. */
  readonly #sources = new Map<string, Source>();

  constructor(options: DoorOptions) {
    this.#options = options;
    const { begin, clock, limits, places } = options;
    this.#gate = new HandshakeGate({ begin, clock, ...(limits === undefined ? {} : { limits }) });
    this.#places = places && new Places(places);
  }

  /** Connections that have not left, those without a PROXY header included. */
  get pending(): number {
    return this.#gate.pending + this.#headless.size;
  }

  /** Lets a new connection in, has it wait, or destroys it. */
  enter(socket: Socket): void {
    socket.on('error', (error) => this.#options.log.debug({ err: error }, 'a connection broke'));
    const { balancers } = this.#options;
    if (balancers === undefined || !balancers.has(socket.remoteAddress)) this.#admit(socket);
    else this.#readHeader(socket);
  }

  /** TLS is done on `socket`, which from now on shows where its connection really comes from. */
  secured(socket: Endpoint): void {
    const source = this.#sources.get(connectionKey(socket));
    if (source !== undefined) showSource(socket, source);
  }

  /** The handshake of a connection is done: it keeps nobody waiting any more, and still counts. Idempotent. */
  shaken(socket: Endpoint): void {
    this.#gate.shaken(socket);
  }

  /** A connection has what it came for; one that ends without it need not be told. Idempotent. */
  leave(socket: Endpoint): void {
    this.#gate.leave(socket);
  }

  /** Somebody who is known uses a connection: until that ends it gives way to no other. @returns what ends it, idempotent */
  use(socket: Endpoint, who: string): () => void {
    return this.#places?.use(socket, who) ?? (() => undefined);
  }

  /** Where the connection under a socket comes from. */
  addressOf(socket: Endpoint): string | undefined {
    return this.#sources.get(connectionKey(socket))?.address ?? socket.remoteAddress;
  }

  /** Destroys all that has not left. */
  close(): void {
    this.#gate.close();
    for (const socket of this.#headless) socket.destroy();
  }

  #admit(socket: Socket, remoteAddress?: string): void {
    if (this.#places?.take(socket, remoteAddress) !== false) this.#gate.enter(socket, remoteAddress);
  }

  #readHeader(socket: Socket): void {
    const { clock, log } = this.#options;
    const balancer = socket.remoteAddress;
    if (this.#headless.size >= MAX_WITHOUT_PROXY_HEADER) {
      log.warn({ balancer }, 'a connection was dropped: too many of balancers are without their PROXY header');
      socket.destroy();
      return;
    }
    this.#headless.add(socket);
    socket.once('close', () => this.#headless.delete(socket));
    takeProxyHeader(
      socket,
      clock,
      (source) => {
        this.#headless.delete(socket);
        if (source !== undefined) this.#remember(socket, source);
        this.#admit(socket, source?.address);
      },
      (reason) => {
        log.warn({ balancer, reason }, 'a connection of a balancer was refused');
        socket.destroy();
      },
    );
  }

  #remember(socket: Socket, source: Source): void {
    const key = connectionKey(socket);
    this.#sources.set(key, source);
    socket.once('close', () => {
      if (this.#sources.get(key) === source) this.#sources.delete(key);
    });
  }
}
