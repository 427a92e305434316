/** The other process of the http2 link. */
import { once } from 'node:events';
import http2 from 'node:http2';
import type { AddressInfo } from 'node:net';
import { CALL_BYTES, Counter, pump } from '../links/link.ts';
import type { Sample } from '../measure.ts';
import { serve } from '../peer.ts';
import { type BenchTls, serverOptions } from '../tls.ts';

const counter = new Counter();
const answer = Buffer.alloc(CALL_BYTES, 0x41);

function answerStream(stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders): void {
  stream.on('error', () => undefined); // the caller's end
  stream.respond({ ':status': 200 });
  if (headers[':path'] === '/down') {
    stream.resume();
    pump(stream);
  } else if (headers[':path'] === '/up') {
    stream.on('data', (data: Buffer) => {
      counter.bytes += data.length;
    });
  } else if (headers[':path'] === '/echo') {
    stream.pipe(stream);
  } else {
    stream.on('data', () => undefined);
    stream.on('end', () => stream.end(answer));
  }
}

const methods = {
  async listen({ tls, windowBytes }: { tls: BenchTls; windowBytes: number }): Promise<number> {
    const server = http2.createSecureServer({
      ...serverOptions(tls),
      settings: { initialWindowSize: windowBytes, maxConcurrentStreams: 1024 },
    });
    server.on('session', (session) => session.setLocalWindowSize(windowBytes));
    server.on('stream', answerStream);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return (server.address() as AddressInfo).port;
  },
  sample: (): Sample => counter.sample(),
};

export type Http2Peer = typeof methods;
serve(methods);
