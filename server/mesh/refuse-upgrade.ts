/** Refuses a WebSocket upgrade, or another request of an agent, with an HTTP answer that the other end can read. */
import { randomUUID } from 'node:crypto';
import { type ServerResponse, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import type { FairleadError } from '../../shared/errors.ts';
import { PROBLEM_TYPE, problemOf } from '../problem.ts';

/** Writes `error` as problem+json and ends the connection. */
export function refuseUpgrade(socket: Duplex, error: FairleadError): void {
  const problem = problemOf(error, randomUUID());
  const body = JSON.stringify(problem);
  const retryAfter = problem.retryAfter === undefined ? '' : `retry-after: ${problem.retryAfter}\r\n`;
  socket.end(
    `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status] ?? 'Refused'}\r\n` +
      `content-type: ${PROBLEM_TYPE}\r\nconnection: close\r\n` +
      `${retryAfter}content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}

/** Answers a request with `error` as problem+json and ends the connection. */
export function refuseRequest(response: ServerResponse, error: FairleadError): void {
  const problem = problemOf(error, randomUUID());
  const retryAfter = problem.retryAfter === undefined ? {} : { 'retry-after': String(problem.retryAfter) };
  response.writeHead(problem.status, { 'content-type': PROBLEM_TYPE, connection: 'close', ...retryAfter });
  response.end(JSON.stringify(problem));
}
