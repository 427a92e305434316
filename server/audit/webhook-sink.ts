/** Posts the audit log to a URL as NDJSON, signed by a shared secret if there is one. Only a 2xx answer counts. */
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import http, { type IncomingMessage } from 'node:http';
import https from 'node:https';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import { VERSION } from '../../shared/version.ts';
import type { Batch, Sink } from './forwarder.ts';

/** Time for one exchange. */
export const WEBHOOK_TIMEOUT_MS = 15_000;
/** What is read of an answer; only its status counts. */
const MAX_ANSWER_BYTES = 64 * 1024;

export interface WebhookOptions {
  readonly url: URL;
  /** Keys the signature. */
  readonly secret: string | undefined;
  /** The CA of the receiver in PEM; those of the system unless given. */
  readonly ca: string | undefined;
  readonly clock: Clock;
}

export class WebhookSink implements Sink {
  readonly name: string;
  readonly #options: WebhookOptions;
  readonly #agent: http.Agent;

  constructor(options: WebhookOptions) {
    const { url } = options;
    // Without the query, which may hold a token of the receiver.
    this.name = `webhook:${url.origin}${url.pathname}`;
    this.#options = options;
    const { Agent } = url.protocol === 'http:' ? http : https;
    this.#agent = new Agent({ keepAlive: true, maxSockets: 1 });
  }

  /** @throws FairleadError SERVER_UNREACHABLE, TIMEOUT */
  async send(batch: Batch, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    const late = new AbortController();
    const timer = clock.setTimeout(
      () =>
        late.abort(new FairleadError('TIMEOUT', `${this.name} did not answer within ${WEBHOOK_TIMEOUT_MS / 1000} s`)),
      WEBHOOK_TIMEOUT_MS,
    );
    const ending = AbortSignal.any([signal, late.signal]);
    try {
      const status = await this.#post(batch, ending);
      if (status < 200 || status >= 300)
        throw new FairleadError('SERVER_UNREACHABLE', `${this.name} answered ${status}`);
    } catch (error) {
      if (ending.aborted) throw ending.reason;
      if (error instanceof FairleadError) throw error;
      const why = error instanceof Error && 'code' in error ? String(error.code) : 'the connection failed';
      throw new FairleadError('SERVER_UNREACHABLE', `${this.name} cannot be reached: ${why}`, { cause: error });
    } finally {
      timer.cancel();
    }
  }

  async close(): Promise<void> {
    this.#agent.destroy();
  }

  async #post({ text, firstId, lastId }: Batch, signal: AbortSignal): Promise<number> {
    const { url, ca, clock, secret } = this.#options;
    const body = Buffer.from(text, 'utf8');
    const timestamp = String(Math.floor(clock.now() / 1000));
    const { request } = url.protocol === 'http:' ? http : https;
    const outgoing = request(url, {
      method: 'POST',
      agent: this.#agent,
      signal,
      // Said outright: NODE_TLS_REJECT_UNAUTHORIZED must not be able to turn verification off.
      ...(url.protocol === 'http:' ? {} : { rejectUnauthorized: true, ...(ca === undefined ? {} : { ca }) }),
      headers: {
        'content-type': 'application/x-ndjson',
        'content-length': body.length,
        'user-agent': `fairlead-server/${VERSION}`,
        'fairlead-audit-first': firstId,
        'fairlead-audit-last': lastId,
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
