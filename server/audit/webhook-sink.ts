/** Posts the audit log to a URL as NDJSON. */
import { SignedPost, type SignedPostOptions } from '../signed-post.ts';
import type { Batch, Sink } from './forwarder.ts';

export type WebhookOptions = Omit<SignedPostOptions, 'name' | 'lookup'>;

export class WebhookSink implements Sink {
  readonly key: string;
  readonly name: string;
  readonly #post: SignedPost;

  constructor(options: WebhookOptions) {
    const { url } = options;
    // Without the query, which may hold a token of the receiver.
    this.key = `webhook:${url.origin}${url.pathname}`;
    this.name = `webhook:${url.host}`;
    this.#post = new SignedPost({ ...options, name: this.name });
  }

  /** @throws FairleadError SERVER_UNREACHABLE, TIMEOUT */
  async send({ text, firstId, lastId }: Batch, signal: AbortSignal): Promise<void> {
    const headers = {
      'content-type': 'application/x-ndjson',
      'fairlead-audit-first': firstId,
      'fairlead-audit-last': lastId,
    };
    await this.#post.send(text, headers, signal);
  }

  async close(): Promise<void> {
    this.#post.close();
  }
}
