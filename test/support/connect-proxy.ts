/** A proxy for CONNECT, as HTTPS_PROXY names one, that keeps what it was asked for. */
import { createServer } from 'node:http';
import { type AddressInfo, connect, type Server as ListeningSocket, type Socket } from 'node:net';
import { type Cleanup, defer } from './tmp.ts';

export interface ConnectProxy {
  readonly url: string;
  /** `host:port`, each time. */
  readonly asked: readonly string[];
}

/** @param socket where it listens: in another network, perhaps, while it connects from this one */
export function connectProxy(cleanup: Cleanup, socket: ListeningSocket): ConnectProxy {
  const asked: string[] = [];
  const open = new Set<Socket>();
  const server = createServer((_request, response) => response.writeHead(405).end());
  server.on('connect', ({ url = '' }, client: Socket, head: Buffer) => {
    asked.push(url);
    const [, host, port] = /^(.*):(\d+)$/.exec(url) ?? [];
    const target = connect({ host: host ?? '', port: Number(port) }, () => {
      client.write('HTTP/1.1 200 Connection established\r\n\r\n');
      target.write(head);
      client.pipe(target).pipe(client);
    });
    for (const [end, other] of [
      [client, target],
      [target, client],
    ] as const) {
      open.add(end);
      // However one ends, so does the other.
      end.on('error', () => other.destroy());
      end.on('close', () => {
        open.delete(end);
        other.destroy();
      });
    }
  });
  server.listen(socket);
  defer(cleanup, () => {
    server.close();
    for (const end of open) end.destroy();
  });
  return { url: `http://127.0.0.1:${(socket.address() as AddressInfo).port}`, asked };
}
