/** A TCP proxy that makes of loopback a slow, long or changing link: no loss, in order, and a queue that pauses reading. */
import { once } from 'node:events';
import { type AddressInfo, createConnection, createServer, type Server, type Socket } from 'node:net';
import { LinkSchedule, type LinkSettings } from './link-emulator-schedule.ts';

/** How the link is, or changes; what is named for one direction overrides what is named for both. */
export interface LinkChange extends Partial<LinkSettings> {
  readonly toTarget?: Partial<LinkSettings>;
  readonly fromTarget?: Partial<LinkSettings>;
}

export interface LinkOptions extends LinkChange, LinkSettings {
  readonly rate: number;
  readonly delayMs: number;
  /** The port on 127.0.0.1 that connections are passed on to. */
  readonly port: number;
}

/** What moves a link, in this process or in one of its own. */
export interface Link {
  /** On 127.0.0.1. */
  readonly port: number;
  set(change: LinkChange): Promise<void>;
  freeze(): Promise<void>;
  thaw(): Promise<void>;
  /** Ends every connection at once, with what is on its way; new ones are taken. */
  cut(): Promise<void>;
  close(): Promise<void>;
}

const MAX_CONNECTIONS = 64;
/** What may wait for an end that does not read; beyond it nothing is delivered and nothing read. */
const MAX_UNREAD_BYTES = 256 * 1024;
/** A stream buffers what one call takes, and 64 KiB that come at once; that is no part of the queue, so it is kept small. */
const MAX_TAKEN_BYTES = 16 * 1024;
const SOCKET_OPTIONS = { allowHalfOpen: true, highWaterMark: 1, noDelay: true } as const;

/** One direction of one connection. */
class Wire {
  readonly #schedule: LinkSchedule;
  readonly #from: Socket;
  readonly #to: Socket;
  #timer: NodeJS.Timeout | undefined;
  #ended = false;

  constructor(from: Socket, to: Socket, settings: LinkSettings) {
    this.#schedule = new LinkSchedule(settings);
    this.#from = from;
    this.#to = to;
    from.on('readable', () => this.#move());
    from.on('end', () => {
      this.#ended = true;
      this.#move();
    });
    to.on('drain', () => this.#move());
    to.once('close', () => clearTimeout(this.#timer));
  }

  set(settings: Partial<LinkSettings>): void {
    this.#schedule.set(performance.now(), settings);
    this.#move();
  }

  freeze(): void {
    this.#schedule.freeze(performance.now());
    this.#move();
  }

  thaw(): void {
    this.#schedule.thaw(performance.now());
    this.#move();
  }

  /** Does all that is due, and comes back when more will be. */
  #move(): void {
    if (this.#to.destroyed) return;
    // `drain` brings it back.
    if (this.#to.writableLength > MAX_UNREAD_BYTES) return;
    const now = performance.now();
    this.#read(now);
    this.#deliver(now);
    if (this.#ended && this.#schedule.heldBytes === 0 && !this.#to.writableEnded) this.#to.end();
    clearTimeout(this.#timer);
    const nextAt = this.#schedule.nextAt;
    // Timers are no finer than 1 ms; what is due earlier than the next one is delivered with it.
    if (nextAt !== undefined) this.#timer = setTimeout(() => this.#move(), Math.max(1, nextAt - now));
  }

  #read(now: number): void {
    for (let room = this.#schedule.room(now); room > 0; room = this.#schedule.room(now)) {
      const available = this.#from.readableLength;
      // A read of nothing tells the socket to go on reading, which it does not do of its own while it is not read from.
      const data = this.#from.read(Math.min(room, available, MAX_TAKEN_BYTES)) as Buffer | null;
      if (data === null || data.byteLength === 0) return;
      this.#schedule.offer(now, data);
    }
  }

  #deliver(now: number): void {
    const packets = this.#schedule.take(now);
    if (packets.length === 0) return;
    this.#to.cork();
    for (const packet of packets) this.#to.write(packet);
    this.#to.uncork();
  }
}

interface Connection {
  readonly toTarget: Wire;
  readonly fromTarget: Wire;
  destroy(): void;
}

/** The link in this process. Each connection has its rate and its queue for itself. */
export class LinkEmulator implements Link {
  readonly port: number;
  readonly #server: Server;
  readonly #targetPort: number;
  readonly #connections = new Set<Connection>();
  #toTarget: LinkSettings;
  #fromTarget: LinkSettings;
  #frozen = false;

  private constructor(server: Server, options: LinkOptions) {
    const { rate, delayMs } = options;
    this.port = (server.address() as AddressInfo).port;
    this.#server = server;
    this.#targetPort = options.port;
    this.#toTarget = { rate, delayMs, ...options.toTarget };
    this.#fromTarget = { rate, delayMs, ...options.fromTarget };
    server.on('connection', (socket) => this.#connect(socket));
  }

  static async start(options: LinkOptions): Promise<LinkEmulator> {
    const server = createServer(SOCKET_OPTIONS);
    server.maxConnections = MAX_CONNECTIONS;
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return new LinkEmulator(server, options);
  }

  async set({ toTarget, fromTarget, ...both }: LinkChange): Promise<void> {
    this.#toTarget = { ...this.#toTarget, ...both, ...toTarget };
    this.#fromTarget = { ...this.#fromTarget, ...both, ...fromTarget };
    for (const connection of this.#connections) {
      connection.toTarget.set(this.#toTarget);
      connection.fromTarget.set(this.#fromTarget);
    }
  }

  async freeze(): Promise<void> {
    this.#frozen = true;
    for (const { toTarget, fromTarget } of this.#connections) {
      toTarget.freeze();
      fromTarget.freeze();
    }
  }

  async thaw(): Promise<void> {
    this.#frozen = false;
    for (const { toTarget, fromTarget } of this.#connections) {
      toTarget.thaw();
      fromTarget.thaw();
    }
  }

  async cut(): Promise<void> {
    for (const connection of this.#connections) connection.destroy();
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    await this.cut();
    await closed;
  }

  #connect(client: Socket): void {
    const target = createConnection({ ...SOCKET_OPTIONS, port: this.#targetPort, host: '127.0.0.1' });
    const connection: Connection = {
      toTarget: new Wire(client, target, this.#toTarget),
      fromTarget: new Wire(target, client, this.#fromTarget),
      destroy() {
        client.destroy();
        target.destroy();
      },
    };
    if (this.#frozen) {
      connection.toTarget.freeze();
      connection.fromTarget.freeze();
    }
    this.#connections.add(connection);
    for (const end of [client, target]) {
      end.on('error', () => connection.destroy());
      end.once('close', () => {
        // An end that has said all it had to say closes before the other has heard it.
        if (!end.readableEnded) connection.destroy();
        if (client.closed && target.closed) this.#connections.delete(connection);
      });
    }
  }
}
