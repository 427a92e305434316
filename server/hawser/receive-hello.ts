/** What is taken from a WebSocket before it is known whose it is: one hello, and no more bytes than that may have. */
import type { Duplex } from 'node:stream';
import type { RawData, WebSocket } from 'ws';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import { type Hello, MAX_HELLO_BYTES } from '../../shared/hawser/messages.ts';
import { parseAgentMessage } from '../../shared/hawser/parse.ts';
import { HELLO_MS } from './limits.ts';

/** Ends a connection that sends more than a hello before it is known. @returns what lifts that */
export function limitBytes(ws: WebSocket, socket: Duplex): () => void {
  let bytes = 0;
  const count = (chunk: Buffer) => {
    bytes += chunk.byteLength;
    if (bytes > MAX_HELLO_BYTES) ws.terminate();
  };
  socket.on('data', count);
  return () => void socket.off('data', count);
}

/** The first message. @throws FairleadError TIMEOUT, CANCELLED, MESSAGE_INVALID, TOKEN_INVALID without a token */
export async function receiveHello(ws: WebSocket, clock: Clock): Promise<Hello> {
  const { promise, resolve, reject } = Promise.withResolvers<Hello>();
  const late = new FairleadError('TIMEOUT', `no hello came within ${HELLO_MS / 1000} s`);
  const timer = clock.setTimeout(() => reject(late), HELLO_MS);
  const onMessage = (data: RawData) => {
    try {
      const parsed = parseAgentMessage((data as Buffer).toString('utf8'));
      if ('message' in parsed && parsed.message.type === 'hello') resolve(parsed.message);
      else reject(new FairleadError('MESSAGE_INVALID', 'the first message must be a hello'));
    } catch (error) {
      reject(error);
    }
  };
  const onClose = () => reject(new FairleadError('CANCELLED', 'the agent went away'));
  ws.on('message', onMessage);
  ws.once('close', onClose);
  try {
    return await promise;
  } finally {
    timer.cancel();
    ws.off('message', onMessage);
    ws.off('close', onClose);
  }
}
