/** What the CLI's WebSockets have in common: bytes at the pace of who takes them, control as JSON text. */
import { Buffer } from 'node:buffer';
import type { Writable } from 'node:stream';
import type { RawData, WebSocket } from 'ws';
import { FairleadError, fromWireError } from '../../shared/errors.ts';

/** Sends a control message, if the connection still stands. */
export function send(socket: WebSocket, control: object): void {
  if (socket.readyState === socket.OPEN) socket.send(JSON.stringify(control));
}

/** A message as one buffer. */
export function bytesOf(data: RawData): Buffer {
  if (Buffer.isBuffer(data)) return data;
  return Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data);
}

/** Writes `bytes`, and stops the socket while the output's reader is behind. */
export function deliver(socket: WebSocket, output: Writable, bytes: Buffer): void {
  if (output.write(bytes) || socket.isPaused) return;
  socket.pause();
  output.once('drain', () => socket.resume());
}

/** What the server says. */
export interface Control {
  /** The exit code of the process. */
  readonly exit?: number;
  /** The process runs on, and is left. */
  readonly detached?: true;
  /** There are no more bytes. */
  readonly end?: true;
  readonly failure?: FairleadError;
}

export function readControl(message: Buffer): Control {
  try {
    const { exit, end, detached, error } = JSON.parse(message.toString('utf8'));
    if (typeof exit?.code === 'number') return { exit: exit.code };
    if (end === true) return { end };
    if (detached === true) return { detached };
    if (typeof error?.code !== 'string') return {}; // a control of a later version
    return { failure: fromWireError({ code: error.code, message: String(error.detail ?? error.message ?? '') }) };
  } catch {
    return { failure: new FairleadError('PROTOCOL_ERROR', 'the server sent a control message that is no JSON') };
  }
}
