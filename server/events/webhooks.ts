/** Webhooks: made, listed, tried and removed here, and events brought to each of them meanwhile. */
import { randomBytes, randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError, toWireError } from '../../shared/errors.ts';
import type { Actor, Audit } from '../audit/audit.ts';
import type { Secrets } from '../authority/secrets.ts';
import { SignedPost } from '../signed-post.ts';
import type { Page, PageRequest } from '../store/page.ts';
import type { Store } from '../store/store.ts';
import type { NewWebhook, WebhookRow } from '../store/webhooks.ts';
import type { EventLog } from './event-log.ts';
import type { HostDirectory } from './host-directory.ts';
import { EventMatcher } from './matcher.ts';
import { requireSafeHost, safeLookup } from './safe-address.ts';
import { FAILING_MS, WebhookDelivery } from './webhook-delivery.ts';

/** Each has a connection and reads the log by itself. */
const MAX_WEBHOOKS = 100;
const MAX_URL_CHARS = 2_048;
const SECRET_BYTES = 32;

export interface WebhooksDeps {
  readonly store: Pick<Store, 'webhooks' | 'transaction'>;
  readonly audit: Pick<Audit, 'record' | 'recordOrLog'>;
  readonly secrets: Pick<Secrets, 'seal' | 'open'>;
  readonly eventLog: EventLog;
  readonly directory: HostDirectory;
  /** Lets them go to link-local addresses and to what clouds have beside those. */
  readonly allowsLinkLocal: boolean;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Pick<Logger, 'warn' | 'info' | 'error'>;
}

/** What a webhook is to get: any within each list, and all lists; without a list, all. */
export interface WebhookFilter {
  readonly types?: readonly string[] | undefined;
  /** Ids. */
  readonly hosts?: readonly string[] | undefined;
  readonly tags?: readonly string[] | undefined;
}

export interface WebhookRequest extends WebhookFilter {
  readonly url: string;
  readonly name?: string | undefined;
}

export interface WebhookView extends WebhookFilter {
  readonly id: string;
  readonly name: string | undefined;
  readonly url: string;
  /** `failing`: for a minute and more; what it has not got waits, and comes when it takes events again. */
  readonly state: 'ok' | 'retrying' | 'failing';
  readonly createdBy: string;
  /** Times are ms since 1970. */
  readonly createdAt: number;
  readonly deliveredAt: number | undefined;
  readonly failingSince: number | undefined;
  readonly failures: number;
  readonly error: string | undefined;
  /** Events that it has not been looked through for yet. */
  readonly behind: number;
}

interface Target {
  readonly url: string;
  readonly secret: string;
}

export class Webhooks {
  readonly #deps: WebhooksDeps;
  readonly #deliveries = new Map<string, WebhookDelivery>();
  #isClosed = false;

  /** Goes on with each where it stood. @throws FairleadError STORE_UNAVAILABLE */
  static async open(deps: WebhooksDeps): Promise<Webhooks> {
    const webhooks = new Webhooks(deps);
    for (const row of await deps.store.webhooks.all()) await webhooks.#resume(row);
    return webhooks;
  }

  private constructor(deps: WebhooksDeps) {
    this.#deps = deps;
  }

  /**
   * Makes a webhook, which gets events from now on.
   * @returns it, and the secret that signs what it is sent: shown this once
   * @throws FairleadError VALIDATION, CONFLICT if there are too many
   */
  async create(request: WebhookRequest, actor: Actor): Promise<{ webhook: WebhookView; secret: string }> {
    const { store, audit, secrets, clock, eventLog } = this.#deps;
    const url = this.#checkUrl(request.url);
    if (this.#deliveries.size >= MAX_WEBHOOKS) {
      throw new FairleadError('CONFLICT', `there are ${MAX_WEBHOOKS} webhooks already: remove one of them`);
    }
    const id = randomUUID();
    const secret = randomBytes(SECRET_BYTES).toString('base64url');
    const { name, types, hosts, tags } = request;
    const row: NewWebhook = {
      ...{ id, name, createdBy: actor.name, createdAt: clock.now(), position: eventLog.last },
      target: await secrets.seal(JSON.stringify({ url: url.href, secret } satisfies Target), contextOf(id)),
      filter: JSON.stringify({ types, hosts, tags } satisfies WebhookFilter),
    };
    await store.transaction(async (tables) => {
      await tables.webhooks.insert(row);
      const detail = { name, origin: url.origin, types, hosts, tags };
      await audit.record({ ...entryOf(actor, 'webhook.create', id), result: 'ok', detail }, tables);
    });
    const stored = await this.#get(id);
    await this.#resume(stored);
    return { webhook: await this.#view(stored), secret };
  }

  /** Newest first. */
  async list(page: PageRequest): Promise<Page<WebhookView>> {
    const { items, ...rest } = await this.#deps.store.webhooks.list(page);
    return { items: await Promise.all(items.map((row) => this.#view(row))), ...rest };
  }

  /** @throws FairleadError NOT_FOUND */
  async get(id: string): Promise<WebhookView> {
    return await this.#view(await this.#get(id));
  }

  /** What is under way to it may still arrive; nothing more does. @throws FairleadError NOT_FOUND */
  async remove(id: string, actor: Actor): Promise<void> {
    const { store, audit, clock } = this.#deps;
    await store.transaction(async (tables) => {
      const row = await tables.webhooks.find(id);
      if (row === undefined || !(await tables.webhooks.delete(id, clock.now()))) throw notFound(id);
      await audit.record({ ...entryOf(actor, 'webhook.delete', id), result: 'ok', detail: { name: row.name } }, tables);
    });
    const delivery = this.#deliveries.get(id);
    this.#deliveries.delete(id);
    await delivery?.close();
  }

  /**
   * Sends an event of type webhook.test, past those that wait.
   * @throws FairleadError NOT_FOUND, and what keeps it from being taken: SERVER_UNREACHABLE, TIMEOUT, VALIDATION
   */
  async test(id: string, actor: Actor): Promise<void> {
    await this.#get(id);
    const delivery = this.#deliveries.get(id);
    if (delivery === undefined) throw notFound(id);
    const entry = entryOf(actor, 'webhook.test', id);
    try {
      await delivery.test();
    } catch (error) {
      await this.#deps.audit.recordOrLog({ ...entry, result: 'failed', detail: { code: toWireError(error).code } });
      throw error;
    }
    await this.#deps.audit.recordOrLog({ ...entry, result: 'ok' });
  }

  /** Idempotent. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await Promise.all([...this.#deliveries.values()].map((delivery) => this.#end(delivery)));
  }

  async #end(delivery: WebhookDelivery): Promise<void> {
    await delivery.close();
    // What was passed over is looked at once more if this fails.
    await delivery.save().catch(() => undefined);
  }

  /** @throws FairleadError VALIDATION */
  #checkUrl(given: string): URL {
    const url = given.length > MAX_URL_CHARS ? null : URL.parse(given);
    if (url === null || !['http:', 'https:'].includes(url.protocol)) {
      throw new FairleadError('VALIDATION', 'url is not valid: give it as https://HOST/PATH');
    }
    if (url.username !== '' || url.password !== '') {
      throw new FairleadError('VALIDATION', 'url is not valid: it takes no user or password; what is sent is signed');
    }
    url.hash = '';
    if (!this.#deps.allowsLinkLocal) requireSafeHost(url);
    return url;
  }

  /** Begins to bring events. One whose secret cannot be opened gets none: that is logged, and it can be removed. */
  async #resume(row: WebhookRow): Promise<void> {
    const { directory, clock, allowsLinkLocal, log } = this.#deps;
    const target = await this.#targetOf(row).catch((error: unknown) => {
      log.error({ err: error, webhook: row.id }, 'a webhook gets no events: remove it and make it anew');
      return undefined;
    });
    if (target === undefined || this.#isClosed) return;
    const { url: href, secret } = target;
    const url = new URL(href);
    const safe = allowsLinkLocal ? {} : { lookup: safeLookup };
    const post = new SignedPost({ url, secret, ca: undefined, clock, name: `webhook:${url.host}`, ...safe });
    const matcher = new EventMatcher(JSON.parse(row.filter) as WebhookFilter, directory);
    this.#deliveries.set(row.id, new WebhookDelivery({ ...this.#deps, row, post, matcher }));
  }

  async #targetOf({ id, target }: WebhookRow): Promise<Target> {
    const opened = JSON.parse(await this.#deps.secrets.open(target, contextOf(id))) as Target;
    // What was allowed once may not be any more.
    this.#checkUrl(opened.url);
    return opened;
  }

  async #get(id: string): Promise<WebhookRow> {
    const row = await this.#deps.store.webhooks.find(id);
    if (row === undefined) throw notFound(id);
    return row;
  }

  async #view(row: WebhookRow): Promise<WebhookView> {
    const { eventLog, clock } = this.#deps;
    const delivery = this.#deliveries.get(row.id);
    const { position, deliveredAt, failingSince, failures, error } = delivery?.progress ?? row;
    const target = await this.#targetOf(row).catch(() => undefined); // said below
    const isFailing =
      delivery === undefined || (failingSince !== undefined && clock.now() - failingSince >= FAILING_MS);
    return {
      ...(JSON.parse(row.filter) as WebhookFilter),
      ...{ id: row.id, name: row.name, createdBy: row.createdBy, createdAt: row.createdAt },
      ...{ deliveredAt, failingSince, failures },
      url: target?.url ?? '',
      state: isFailing ? 'failing' : failingSince === undefined ? 'ok' : 'retrying',
      error: target === undefined ? 'its URL and secret cannot be used: remove it and make it anew' : error,
      behind: Math.max(0, eventLog.last - position),
    };
  }
}

/** What the secret of a webhook is sealed as. */
function contextOf(id: string): string {
  return `webhook ${id}`;
}

function entryOf({ name, address }: Actor, action: string, target: string) {
  return { actor: name, address, action, target };
}

function notFound(id: string): FairleadError {
  return new FairleadError('NOT_FOUND', `there is no webhook ${JSON.stringify(id)}`);
}
