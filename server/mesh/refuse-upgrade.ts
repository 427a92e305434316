/** Refuses a WebSocket upgrade with an HTTP answer that the other end can read. */
import type { Duplex } from 'node:stream';
import { ERRORS, type FairleadError } from '../../shared/errors.ts';

/** Writes `error` as problem+json and ends the connection. */
export function refuseUpgrade(socket: Duplex, error: FairleadError): void {
  const { status, title } = ERRORS[error.code];
  const body = JSON.stringify({ type: 'about:blank', title, status, code: error.code, detail: error.message });
  socket.end(
    `HTTP/1.1 ${status} ${title.replace(/[^\x20-\x7e]/g, '')}\r\n` +
      'content-type: application/problem+json\r\nconnection: close\r\n' +
      `content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}
