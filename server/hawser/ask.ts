/** One request to an agent of Hawser: answered in one message, or streamed without a head. */
import { FairleadError } from '../../shared/errors.ts';
import { type HawserResponse, MAX_SERVER_MESSAGE_BYTES } from '../../shared/hawser/messages.ts';
import { fromBase64 } from '../../shared/hawser/parse.ts';
import { HeldBytes } from './held-bytes.ts';
import { REQUEST_GRACE_MS, REQUEST_MS } from './limits.ts';
import type { HawserSession } from './session.ts';

export interface HawserCall {
  readonly method: string;
  /** Path and query, as Docker gets them. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /** A JSON text that goes to Docker byte for byte. */
  readonly json?: string | undefined;
  /** A body of any other sort, for agents that take one. */
  readonly binary?: Buffer | undefined;
}

export interface AskOptions {
  readonly signal?: AbortSignal | undefined;
  /** The agent itself waits for 30 s at most. */
  readonly timeoutMs?: number | undefined;
  /** Takes what newer agents send of some answers before the answer itself. */
  readonly onData?: ((bytes: Buffer) => void) | undefined;
}

/** Docker's answer. */
export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

/** @throws FairleadError TIMEOUT, DOCKER_UNREACHABLE, STREAM_INTERRUPTED, OVERLOADED, PAYLOAD_TOO_LARGE, the reason of `signal` */
export async function ask(session: HawserSession, call: HawserCall, options: AskOptions = {}): Promise<Answer> {
  const { signal, timeoutMs = REQUEST_MS + REQUEST_GRACE_MS, onData } = options;
  signal?.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<HawserResponse>();
  const id = session.begin({
    ...{ sort: 'request', response: resolve, fail: reject, end: () => reject(noAnswer()) },
    ...(onData === undefined ? {} : { data: onData }),
  });
  const late = new FairleadError('TIMEOUT', `the host did not answer within ${timeoutMs / 1000} s`);
  const timer = session.clock.setTimeout(() => reject(late), timeoutMs);
  const onAbort = () => reject(signal?.reason);
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    session.send(textOf(id, call, false));
    return toAnswer(await promise);
  } finally {
    timer.cancel();
    signal?.removeEventListener('abort', onAbort);
    // An agent cannot be told to give up what it has asked of Docker: its answer is dropped when it comes.
    session.release(id, false);
  }
}

/**
 * The bytes of a streamed answer. There is no status: what Docker refuses comes as bytes, too. Destroyed by whoever loses
 * interest; the agent is told then.
 * @throws FairleadError HOST_OFFLINE, OVERLOADED
 */
export function stream(session: HawserSession, call: HawserCall): HeldBytes {
  const bytes = new HeldBytes(session.gate, () => session.release(id, true));
  const id = session.begin({
    sort: 'request',
    data: (chunk) => bytes.receive(chunk),
    end: () => bytes.finish(),
    // What cannot be answered as a stream the agent answers as anything else.
    response: (message) => takeResponse(bytes, message),
    fail: (error) => bytes.destroy(error),
  });
  try {
    session.send(textOf(id, call, true));
  } catch (error) {
    bytes.destroy();
    throw error;
  }
  return bytes;
}

function takeResponse(bytes: HeldBytes, message: HawserResponse): void {
  try {
    bytes.receive(toAnswer(message).body);
    bytes.finish();
  } catch (error) {
    bytes.destroy(error as Error);
  }
}

/** The message. A JSON body stands in it as it is: read and written anew, a large number would be another one. */
function textOf(requestId: string, call: HawserCall, streaming: boolean): string {
  const { method, path, headers = {}, json, binary } = call;
  const head = { type: 'request', requestId, method, path, headers, streaming };
  const body =
    json !== undefined
      ? `,"body":${json}}`
      : binary !== undefined
        ? `,"isBinary":true,"body":"${binary.toString('base64')}"}`
        : '}';
  const text = `${JSON.stringify(head).slice(0, -1)}${body}`;
  if (text.length > MAX_SERVER_MESSAGE_BYTES) {
    throw new FairleadError(
      'PAYLOAD_TOO_LARGE',
      `an agent of Hawser takes a request in one message, of ${MAX_SERVER_MESSAGE_BYTES} bytes at most`,
    );
  }
  return text;
}

/** @throws FairleadError MESSAGE_INVALID */
function toAnswer({ statusCode, headers, body = '', isBinary }: HawserResponse): Answer {
  const bytes = isBinary === true ? fromBase64(body) : Buffer.from(body, 'utf8');
  return { status: statusCode, headers: headers ?? {}, body: bytes };
}

function noAnswer(): FairleadError {
  return new FairleadError('DOCKER_ERROR', 'the agent of Hawser ended the request without an answer');
}
