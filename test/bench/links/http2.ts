/** The baseline of small calls: Node's http2 over mutual TLS, with windows of 4 MiB. */
import { once } from 'node:events';
import http2 from 'node:http2';
import { INTERNAL_SERVER_NAME } from '../../../certs/names.ts';
import { startPeer } from '../peer.ts';
import type { Http2Peer } from '../peers/http2.ts';
import { type BenchTls, clientOptions } from '../tls.ts';
import { CALL_BYTES, type CallLink, Counter, pump } from './link.ts';

export const WINDOW_BYTES = 4 * 1024 * 1024;

/** This process is the client, since an http2 server cannot ask. */
export async function openHttp2(tls: BenchTls): Promise<CallLink> {
  const peer = startPeer<Http2Peer>('http2.ts');
  const port = await peer.call('listen', tls);
  const session = http2.connect(`https://${INTERNAL_SERVER_NAME}:${port}`, {
    ...clientOptions(tls),
    lookup: (_name, options, callback) => {
      if (options.all) callback(null, [{ address: '127.0.0.1', family: 4 }]);
      else callback(null, '127.0.0.1', 4);
    },
    settings: { initialWindowSize: WINDOW_BYTES },
  });
  session.on('error', () => undefined); // the end of the other process
  await once(session, 'connect');
  session.setLocalWindowSize(2 * WINDOW_BYTES);
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
    async close() {
      session.destroy();
      await peer.close();
    },
  };
}
