/** A request of Edge mode as it is kept while it runs: without the message that it came in, and its body only until that is sent. */
import { Readable } from 'node:stream';
import type { HeaderPair } from '../../shared/docker/headers.ts';
import { FairleadError } from '../../shared/errors.ts';
import { COMPOSE_PATH } from '../../shared/hawser/compose.ts';
import type { HawserRequest } from '../../shared/hawser/messages.ts';
import { requireNormal } from './context.ts';
import { requestBody, requestHeaders } from './edge-body.ts';
import { CHUNK_BYTES, MAX_COMPOSE_BODY_BYTES, MAX_HEADER_BYTES } from './limits.ts';

/** What of it is told to the server. */
export interface AskedBase {
  readonly requestId: string;
  readonly isStream: boolean;
}

/** To Docker. */
export interface AskedDocker extends AskedBase {
  readonly method: string;
  readonly target: string;
  readonly headers: HeaderPair[];
  readonly body: HeldBody;
}

/** To Compose; `bytes` are those of its message. */
export interface AskedCompose extends AskedBase {
  readonly compose: unknown;
  readonly bytes: number;
}

export type Asked = AskedDocker | AskedCompose;

/**
 * @param text the whole message, as it came
 * @throws FairleadError VALIDATION, MESSAGE_INVALID, PAYLOAD_TOO_LARGE
 */
export function askedBy(request: HawserRequest, text: string): Asked {
  const { requestId, method, path: target } = request;
  const base = { requestId, isStream: request.streaming === true };
  if (method === 'POST' && target.split('?', 1)[0] === COMPOSE_PATH) {
    const bytes = Buffer.byteLength(text);
    if (bytes > MAX_COMPOSE_BODY_BYTES) throw tooLarge('a request to Compose', MAX_COMPOSE_BODY_BYTES);
    return { ...base, compose: request.body, bytes };
  }
  requireNormal(target);
  const headers = requestHeaders(request);
  const headerChars = headers.reduce((sum, [name, value]) => sum + name.length + value.length, 0);
  if (headerChars > MAX_HEADER_BYTES) throw tooLarge('the headers of a request', MAX_HEADER_BYTES);
  return { ...base, method, target, headers, body: new HeldBody(requestBody(request, text) ?? Buffer.alloc(0)) };
}

function tooLarge(what: string, bytes: number): FairleadError {
  return new FairleadError('PAYLOAD_TOO_LARGE', `${what} may have ${bytes / 1024} KiB`);
}

/** Bytes of a message that are still kept for a request. */
export function heldFor(asked: Asked): number {
  return 'compose' in asked ? asked.bytes : asked.body.held;
}

/** A body, which is let go of as it is read. */
class HeldBody extends Readable {
  readonly byteLength: number;
  #rest: Buffer | undefined;

  constructor(bytes: Buffer) {
    super({ highWaterMark: CHUNK_BYTES });
    this.byteLength = bytes.byteLength;
    this.#rest = bytes;
  }

  /** Bytes that it keeps: all of them until the last ones are read. */
  get held(): number {
    return this.#rest === undefined ? 0 : this.byteLength;
  }

  override _read(): void {
    const rest = this.#rest;
    if (rest === undefined) return void this.push(null);
    this.#rest = rest.byteLength > CHUNK_BYTES ? rest.subarray(CHUNK_BYTES) : undefined;
    // A copy: a part of it would keep the whole.
    this.push(Buffer.from(rest.subarray(0, CHUNK_BYTES)));
  }
}
