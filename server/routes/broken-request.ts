/** What is answered to a connection that asks for nothing that can be understood, or not in time. */
import { randomUUID } from 'node:crypto';
import http from 'node:http';
import type { Duplex } from 'node:stream';
import { FairleadError } from '../../shared/errors.ts';
import { REQUEST_TIMES } from '../doors/limits.ts';
import { PROBLEM_TYPE, problemOf } from '../problem.ts';
import type { ApiDeps } from './deps.ts';
import { endSocket } from './end-socket.ts';
import { MAX_HEADER_BYTES } from './limits.ts';

/** Answers what is no HTTP at all, or no TLS, or breaks its limits, and closes the connection. */
export function answerBrokenRequest(
  error: Error & { code?: string },
  socket: Duplex,
  deps: Pick<ApiDeps, 'clock' | 'requestTimes'>,
): void {
  // An answer that is under way, to a body that does not come, would be broken by another one.
  const isAnswered = (socket as Partial<{ bytesWritten: number }>).bytesWritten !== 0;
  if (error.code === 'ECONNRESET' || socket.destroyed || (isLate(error) && isAnswered)) {
    socket.destroy();
    return;
  }
  const problem = problemOf(brokenRequest(error.code, deps), randomUUID());
  const body = JSON.stringify(problem);
  endSocket(
    socket,
    deps.clock,
    `HTTP/1.1 ${problem.status} ${http.STATUS_CODES[problem.status]}\r\n` +
      `content-type: ${PROBLEM_TYPE}\r\nconnection: close\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  );
}

/** Whether a request has not come in its time. */
export function isLate({ code }: { readonly code?: string }): boolean {
  return code === 'ERR_HTTP_REQUEST_TIMEOUT';
}

function brokenRequest(code: string | undefined, { requestTimes }: Pick<ApiDeps, 'requestTimes'>): FairleadError {
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    const { headersMs, requestMs } = { ...REQUEST_TIMES, ...requestTimes };
    const limits = `its headers may take ${headersMs / 1000} s, and all of it ${requestMs / 1000} s`;
    return new FairleadError('REQUEST_TIMEOUT', `the request did not come in time: ${limits}`);
  }
  const isTooLarge = code === 'HPE_HEADER_OVERFLOW';
  const detail = isTooLarge ? `the headers are larger than ${MAX_HEADER_BYTES} bytes` : 'this is no valid HTTP request';
  return new FairleadError('VALIDATION', detail);
}
