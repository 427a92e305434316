/** Posts texts to a URL, signed by a shared secret if there is one. Only a 2xx answer counts; nobody is led elsewhere. */
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import http, { type IncomingMessage } from 'node:http';
import https from 'node:https';
import type { LookupFunction } from 'node:net';
import type { Clock } from '../shared/clock.ts';
import { FairleadError, isFairleadError } from '../shared/errors.ts';
import { VERSION } from '../shared/version.ts';

/** Time for one exchange. */
export const WEBHOOK_TIMEOUT_MS = 15_000;
/** What is read of an answer; only its status counts. */
const MAX_ANSWER_BYTES = 64 * 1024;

export interface SignedPostOptions {
  readonly url: URL;
  /** Keys the signature. */
  readonly secret: string | undefined;
  /** The CA of the receiver in PEM; those of the system unless given. */
  readonly ca: string | undefined;
  readonly clock: Clock;
  /** How errors name the receiver: without the path of its URL, which may be a secret. */
  readonly name: string;
  /** Resolves names in place of the system's own. */
  readonly lookup?: LookupFunction;
}

export class SignedPost {
  readonly #options: SignedPostOptions;
  readonly #agent: http.Agent;

  constructor(options: SignedPostOptions) {
    this.#options = options;
    const { Agent } = options.url.protocol === 'http:' ? http : https;
    this.#agent = new Agent({ keepAlive: true, maxSockets: 1 });
  }

  /**
   * @param headers with the content type, and what tells the receiver what it gets
   * @throws FairleadError SERVER_UNREACHABLE, TIMEOUT, and what `lookup` refuses with
   */
  async send(text: string, headers: Readonly<Record<string, string | number>>, signal: AbortSignal): Promise<void> {
    const { clock, name } = this.#options;
    const late = new AbortController();
    const timer = clock.setTimeout(
      () => late.abort(new FairleadError('TIMEOUT', `${name} did not answer within ${WEBHOOK_TIMEOUT_MS / 1000} s`)),
      WEBHOOK_TIMEOUT_MS,
    );
    const ending = AbortSignal.any([signal, late.signal]);
    try {
      const status = await this.#post(text, headers, ending);
      if (status < 200 || status >= 300) throw new FairleadError('SERVER_UNREACHABLE', `${name} answered ${status}`);
    } catch (error) {
      if (ending.aborted) throw ending.reason;
      if (isFairleadError(error)) throw error;
      const why = error instanceof Error && 'code' in error ? String(error.code) : 'the connection failed';
      throw new FairleadError('SERVER_UNREACHABLE', `${name} cannot be reached: ${why}`, { cause: error });
    } finally {
      timer.cancel();
    }
  }

  /** Idempotent. */
  close(): void {
    this.#agent.destroy();
  }

  async #post(text: string, headers: Readonly<Record<string, string | number>>, signal: AbortSignal): Promise<number> {
    const { url, ca, clock, secret, lookup } = this.#options;
    const body = Buffer.from(text, 'utf8');
    const timestamp = String(Math.floor(clock.now() / 1000));
    const { request } = url.protocol === 'http:' ? http : https;
    const outgoing = request(url, {
      method: 'POST',
      agent: this.#agent,
      signal,
      ...(lookup === undefined ? {} : { lookup }),
      // Said outright: NODE_TLS_REJECT_UNAUTHORIZED must not be able to turn verification off.
      ...(url.protocol === 'http:' ? {} : { rejectUnauthorized: true, ...(ca === undefined ? {} : { ca }) }),
      headers: {
        ...headers,
        'content-length': body.length,
        'user-agent': `fairlead-server/${VERSION}`,
        'fairlead-timestamp': timestamp,
        ...(secret === undefined ? {} : { 'fairlead-signature': `v1=${signature(secret, timestamp, body)}` }),
      },
    });
    // Kept for good: an error after the answer shows as the answer's own, and must not end the process here.
    outgoing.on('error', () => undefined);
    outgoing.end(body);
    const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
    await discard(response);
    return response.statusCode ?? 0;
  }
}

/** HMAC-SHA256 in hex over the time and the body, with a dot between them: an old delivery cannot be sent again as a new one. */
export function signature(secret: string, timestamp: string, body: Uint8Array): string {
  return createHmac('sha256', secret).update(`${timestamp}.`).update(body).digest('hex');
}

async function discard(response: IncomingMessage): Promise<void> {
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_ANSWER_BYTES) {
      response.destroy();
      return;
    }
  }
}
