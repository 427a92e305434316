/** A socket in front of the real Engine that can be taken away and brought back, and that shows what is asked. */
import { rmSync } from 'node:fs';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { DOCKER_SOCKET } from './docker.ts';
import { type Cleanup, defer, tempDir } from './tmp.ts';

/** How much of what a connection sends is kept, to tell what it is for. */
const HEAD_CHARS = 512;
/** How a request begins: its body comes behind, and so may the next one. */
const REQUEST = /^(?:GET|HEAD|POST|PUT|DELETE) \S+ HTTP\/1\.1\r\n/;

export class DockerProxy {
  /** To be given to the agent as `--docker`. */
  readonly path: string;
  readonly #connections = new Map<Socket, string>();
  /** The first lines of all requests so far. */
  readonly #lines: string[] = [];
  #server: Server | undefined;

  readonly #engine: string;

  private constructor(path: string, engine: string) {
    this.path = path;
    this.#engine = engine;
  }

  /** @param engine the socket of the Engine that it stands in front of */
  static async start(cleanup: Cleanup, engine = DOCKER_SOCKET): Promise<DockerProxy> {
    const proxy = new DockerProxy(join(await tempDir(cleanup, 'docker'), 'docker.sock'), engine);
    defer(cleanup, () => proxy.stop());
    await proxy.listen();
    return proxy;
  }

  /** Brings the socket back. */
  async listen(): Promise<void> {
    const server = createServer((socket) => this.#forward(socket));
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(this.path, resolve);
    });
    this.#server = server;
  }

  /** Takes the socket away and cuts every connection, as a stopped Engine does. */
  stop(): void {
    this.#server?.close();
    this.#server = undefined;
    for (const socket of this.#connections.keys()) socket.destroy();
    rmSync(this.path, { force: true });
  }

  /** Open connections whose latest request contains `text`. */
  open(text: string): number {
    return [...this.#connections.values()].filter((head) => head.includes(text)).length;
  }

  /** The requests so far whose first line contains `text`. */
  asked(text: string): string[] {
    return this.#lines.filter((line) => line.includes(text));
  }

  #forward(socket: Socket): void {
    const upstream = createConnection({ path: this.#engine, allowHalfOpen: true });
    socket.allowHalfOpen = true;
    this.#connections.set(socket, '');
    socket.on('data', (data: Buffer) => {
      this.#connections.set(socket, data.toString('latin1', 0, HEAD_CHARS));
      const [request] = REQUEST.exec(data.toString('latin1')) ?? [];
      if (request !== undefined) this.#lines.push(request.trimEnd());
    });
    socket.pipe(upstream).pipe(socket);
    socket.once('close', () => {
      this.#connections.delete(socket);
      upstream.destroy();
    });
    // What the Engine has said before comes first, also where it has left what it was told unread.
    upstream.once('close', () => socket.destroySoon());
    for (const end of [socket, upstream]) end.on('error', () => end.destroy());
  }
}
