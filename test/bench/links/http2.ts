/** The baseline of small calls: Node's http2 over mutual TLS, with windows as large as is asked for. */
import { once } from 'node:events';
import http2 from 'node:http2';
import { INTERNAL_SERVER_NAME } from '../../../certs/names.ts';
import { startPeer } from '../peer.ts';
import type { Http2Peer } from '../peers/http2.ts';
import { type BenchTls, clientOptions } from '../tls.ts';
import { CALL_BYTES, Counter, direct, type EchoLink, echoOver, pump, type Route } from './link.ts';

/** The windows of http2 where it competes for throughput. */
export const LARGE_WINDOW_BYTES = 4 * 1024 * 1024;
/** What RFC 9113 begins with, and Node stays with. */
export const DEFAULT_WINDOW_BYTES = 65_535;

/** This process is the client, since an http2 server cannot ask. Each stream and the session get the same window. */
export async function openHttp2(
  tls: BenchTls,
  route: Route = direct,
  windowBytes: number = LARGE_WINDOW_BYTES,
): Promise<EchoLink> {
  const peer = startPeer<Http2Peer>('http2.ts');
  const port = await route(await peer.call('listen', { tls, windowBytes }));
  const session = http2.connect(`https://${INTERNAL_SERVER_NAME}:${port}`, {
    ...clientOptions(tls),
    lookup: (_name, options, callback) => {
      if (options.all) callback(null, [{ address: '127.0.0.1', family: 4 }]);
      else callback(null, '127.0.0.1', 4);
    },
    settings: { initialWindowSize: windowBytes },
  });
  session.on('error', () => undefined); // the end of the other process
  await once(session, 'connect');
  session.setLocalWindowSize(windowBytes);
  const counter = new Counter();
  const question = Buffer.alloc(CALL_BYTES, 0x51);
  return {
    async start(direction, streams) {
      for (let i = 0; i < streams; i++) {
        const stream = session.request({ ':method': 'POST', ':path': direction === 'down' ? '/down' : '/up' });
        stream.on('error', () => undefined);
        stream.on('data', (data: Buffer) => {
          counter.bytes += data.length;
        });
        if (direction === 'up') pump(stream);
        else stream.end();
      }
    },
    sample: async (direction) => (direction === 'down' ? counter.sample() : await peer.call('sample')),
    call: () =>
      new Promise((resolve, reject) => {
        const stream = session.request({ ':method': 'POST', ':path': '/call' });
        stream.on('data', () => undefined);
        stream.on('end', () => resolve());
        stream.on('error', reject);
        stream.end(question);
      }),
    async echo() {
      const stream = session.request({ ':method': 'POST', ':path': '/echo' });
      stream.on('error', () => undefined);
      await once(stream, 'response');
      return echoOver(stream);
    },
    async close() {
      session.destroy();
      await peer.close();
    },
  };
}
