/** Bodies of Edge mode: those of requests as Docker is to get them, and those of answers as a message has them. */
import { isUtf8 } from 'node:buffer';
import { Writable } from 'node:stream';
import type { HeaderPair } from '../../shared/docker/headers.ts';
import { isHopByHop } from '../../shared/docker/headers.ts';
import { FairleadError } from '../../shared/errors.ts';
import { type HawserRequest, type HawserResponse, MAX_AGENT_MESSAGE_BYTES } from '../../shared/hawser/messages.ts';
import { fromBase64 } from '../../shared/hawser/parse.ts';
import { CHUNK_BYTES } from './limits.ts';

/** Whatever has a number that a double may not hold as it is written. */
const LONG_NUMBER = /\d{16}|\d[.eE]/;
const BINARY_TYPE = /octet-stream|raw-stream|tar|gzip/;
/** What is between the server and Docker's connection, and is said there anew. */
const OWN_HEADERS: ReadonlySet<string> = new Set(['host', 'content-length', 'expect']);

/**
 * The body that Docker gets: JSON byte for byte but for its spaces, or what base64 says.
 * @param text the whole message, as it came
 * @throws FairleadError MESSAGE_INVALID for base64 that is none
 */
export function requestBody({ body, isBinary }: HawserRequest, text: string): Buffer | undefined {
  if (body === undefined) return undefined;
  if (isBinary === true) {
    if (typeof body !== 'string') throw new FairleadError('MESSAGE_INVALID', 'a binary body must be base64');
    return fromBase64(body);
  }
  return Buffer.from(JSON.stringify(LONG_NUMBER.test(text) ? exactBody(text) : body), 'utf8');
}

/** JSON with what the compiler's library does not have yet. */
const EXACT_JSON = JSON as unknown as {
  parse(text: string, reviver: (key: string, value: unknown, context: { source?: string }) => unknown): unknown;
  rawJSON(text: string): unknown;
};

/** The body with its numbers as they are written. */
function exactBody(text: string): unknown {
  const exact = EXACT_JSON.parse(text, (_key, value, { source }) => {
    return typeof value === 'number' && source !== undefined ? EXACT_JSON.rawJSON(source) : value;
  });
  return (exact as { body: unknown }).body;
}

/** The headers that Docker gets. Servers send none, also with JSON, and Docker wants to be told. */
export function requestHeaders({ headers, body, isBinary }: HawserRequest): HeaderPair[] {
  const pairs = Object.entries(headers ?? {}).filter(([name]) => {
    return !isHopByHop(name) && !OWN_HEADERS.has(name.toLowerCase());
  });
  const isSaid = pairs.some(([name]) => name.toLowerCase() === 'content-type');
  if (isSaid || body === undefined) return pairs;
  return [...pairs, ['Content-Type', isBinary === true ? 'application/x-tar' : 'application/json']];
}

/** The first value of each header. */
export function responseHeaders(headers: readonly HeaderPair[]): Record<string, string> {
  const first = new Map<string, string>();
  for (const [name, value] of headers) if (!first.has(name)) first.set(name, value);
  return Object.fromEntries(first);
}

/** The body of an answer, as text where that says the same. @throws FairleadError PAYLOAD_TOO_LARGE */
export function responseBody(bytes: Buffer, headers: readonly HeaderPair[]): Pick<HawserResponse, 'body' | 'isBinary'> {
  if (bytes.byteLength === 0) return {};
  const type = headers.find(([name]) => name.toLowerCase() === 'content-type')?.[1] ?? '';
  if (!BINARY_TYPE.test(type) && isUtf8(bytes) && !bytes.some(isControl)) {
    const body = bytes.toString('utf8');
    // Each character that JSON escapes takes two or more.
    if (JSON.stringify(body).length < MAX_AGENT_MESSAGE_BYTES / 2) return { body };
  }
  return { body: bytes.toString('base64'), isBinary: true };
}

function isControl(byte: number): boolean {
  return byte < 0x09 || (byte >= 0x0e && byte <= 0x1f) || byte === 0x7f;
}

/** Cuts what is written into messages, as fast as `send` takes them, as base64. */
export function chunked(send: (data: string) => Promise<void>): Writable {
  const sendAll = async (bytes: Buffer) => {
    for (let at = 0; at < bytes.byteLength; at += CHUNK_BYTES) {
      await send(bytes.subarray(at, at + CHUNK_BYTES).toString('base64'));
    }
  };
  return new Writable({
    write: (bytes: Buffer, _encoding, done) => {
      sendAll(bytes).then(() => done(), done);
    },
  });
}
