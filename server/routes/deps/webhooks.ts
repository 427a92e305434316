/** What the routes need of webhooks. */
import type { Actor } from './caller.ts';
import type { Maybe, Page, Paged, Time } from './rows.ts';

export interface WebhookRecord {
  readonly id: string;
  readonly name?: Maybe<string>;
  readonly url: string;
  readonly types?: Maybe<readonly string[]>;
  /** Ids. */
  readonly hosts?: Maybe<readonly string[]>;
  readonly tags?: Maybe<readonly string[]>;
  readonly state: 'ok' | 'retrying' | 'failing';
  readonly createdBy: string;
  readonly createdAt: Time;
  readonly deliveredAt?: Maybe<Time>;
  readonly failingSince?: Maybe<Time>;
  readonly failures: number;
  readonly error?: Maybe<string>;
  readonly behind: number;
}

export interface WebhooksService {
  /** @throws FairleadError VALIDATION, CONFLICT */
  create(
    webhook: { url: string; name?: string; types?: string[]; hosts?: string[]; tags?: string[] },
    actor: Actor,
  ): Promise<{ readonly webhook: WebhookRecord; readonly secret: string }>;
  list(page: Page): Promise<Paged<WebhookRecord>>;
  /** @throws FairleadError NOT_FOUND */
  get(id: string): Promise<WebhookRecord>;
  /** @throws FairleadError NOT_FOUND */
  remove(id: string, actor: Actor): Promise<void>;
  /** @throws FairleadError NOT_FOUND, and what kept it from being taken: SERVER_UNREACHABLE, TIMEOUT, VALIDATION */
  test(id: string, actor: Actor): Promise<void>;
}
