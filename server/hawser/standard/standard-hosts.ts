/** The hosts whose agents of Hawser listen: made, shown, changed, and dialled as long as they are there. */
import { randomUUID } from 'node:crypto';
import type { Logger } from 'pino';
import type { Clock } from '../../../shared/clock.ts';
import { FairleadError, isFairleadError } from '../../../shared/errors.ts';
import type { MemoryPool } from '../../../shared/mux/memory-pool.ts';
import { Once } from '../../../shared/once.ts';
import type { Actor, Audit } from '../../audit/audit.ts';
import type { Secrets } from '../../authority/secrets.ts';
import type { HostRegistry } from '../../hosts/registry.ts';
import type { Tables } from '../../store/all-tables.ts';
import type { HawserStandardRow } from '../../store/hawser-standard.ts';
import type { HostRow } from '../../store/hosts.ts';
import type { Page, PageRequest } from '../../store/page.ts';
import type { Store } from '../../store/store.ts';
import { Turns } from '../../turns.ts';
import { neverSent } from '../unary.ts';
import type { AgentAddress } from './connections.ts';
import { MAX_LOOKING, MAX_STANDARD_HOSTS } from './limits.ts';
import {
  addressOf,
  checkSettings,
  type StandardRequest,
  type StandardSecrets,
  type StandardSettings,
  shownProxy,
  standardLookup,
} from './settings.ts';
import { StandardHost, type StandardState } from './standard-host.ts';

/** What the requests to a host end with whose way is another now. */
const CHANGED = 'the way to the host was changed';

export interface NewStandardHost extends StandardRequest {
  readonly name: string;
  readonly tags?: readonly string[] | undefined;
}

/** What is to be another: absent, it stays; null, it goes. */
export interface StandardChange {
  readonly url?: string | undefined;
  readonly token?: string | undefined;
  readonly ca?: string | null | undefined;
  readonly pin?: string | null | undefined;
  readonly proxy?: string | null | undefined;
  readonly insecureHttp?: boolean | undefined;
}

/** A host as it is shown. Times are ms since 1970. */
export interface StandardHostView extends StandardSettings, StandardState {
  readonly hostId: string;
  readonly hostName: string;
  /** Without user and password. */
  readonly proxy: string | undefined;
  readonly changedBy: string;
  readonly changedAt: number;
}

export interface StandardHostsDeps {
  readonly store: Store;
  readonly audit: Audit;
  readonly secrets: Pick<Secrets, 'seal' | 'open'>;
  readonly registry: HostRegistry;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
  /** What the streams of all agents may take together; unlimited if absent. */
  readonly memory?: MemoryPool | undefined;
  /** Time for an answer that is not streamed: 30 s unless given. */
  readonly requestMs?: number | undefined;
}

export class StandardHosts {
  readonly #deps: StandardHostsDeps;
  readonly #turns = new Turns(MAX_LOOKING);
  /** By host. */
  readonly #hosts = new Map<string, StandardHost>();
  /** What was done for which idempotency key: of a host whose settings change, too. */
  readonly #memories = new Map<string, Once>();
  /** By host that is about to be dialled: which attempt is the last. */
  readonly #attempts = new Map<string, object>();
  #isClosed = false;

  /** Dials those that are there. @throws FairleadError STORE_UNAVAILABLE */
  static async open(deps: StandardHostsDeps): Promise<StandardHosts> {
    const hosts = new StandardHosts(deps);
    for (const row of await deps.store.hawserStandard.all()) await hosts.#dial(row.hostId);
    return hosts;
  }

  private constructor(deps: StandardHostsDeps) {
    this.#deps = deps;
  }

  /** @throws FairleadError VALIDATION, CONFLICT for a name that is taken, or too many */
  async add({ name, tags = [], ...request }: NewStandardHost, actor: Actor): Promise<StandardHostView> {
    const { store, clock } = this.#deps;
    const checked = checkSettings(request);
    const id = randomUUID();
    const row = await this.#rowOf(id, checked, actor);
    const host = await store.transaction(async (tables) => {
      if ((await tables.hawserStandard.count()) >= MAX_STANDARD_HOSTS)
        throw new FairleadError('CONFLICT', `the server dials ${MAX_STANDARD_HOSTS} hosts already`);
      const made = await tables.hosts.insert({
        ...{ id, name, kind: 'hawser-standard', tags: [...tags], createdAt: clock.now() },
        ...{ os: '', arch: '', hostname: '', agentVersion: '' },
      });
      await tables.hawserStandard.put(row);
      await this.#record(tables, 'hawser-host.create', made, actor, checked);
      return made;
    });
    await this.#dial(id);
    return this.#view(host, row, checked.secrets);
  }

  /** In the order of their ids. */
  async list(page: PageRequest): Promise<Page<StandardHostView>> {
    const { items, ...rest } = await this.#deps.store.hawserStandard.list(page);
    const views: StandardHostView[] = [];
    for (const row of items) {
      const host = await this.#deps.store.hosts.find(row.hostId);
      // Removed since the page was read.
      if (host !== undefined) views.push(this.#view(host, row, await this.#secretsOf(row)));
    }
    return { items: views, ...rest };
  }

  /** By id or name. @throws FairleadError HOST_NOT_FOUND, NOT_FOUND for a host of another kind */
  async get(ref: string): Promise<StandardHostView> {
    const { host, row } = await find(this.#deps.store, ref);
    return this.#view(host, row, await this.#secretsOf(row));
  }

  /** Dials anew, by what has changed. @throws FairleadError HOST_NOT_FOUND, NOT_FOUND, VALIDATION, CONFLICT */
  async change(ref: string, change: StandardChange, actor: Actor): Promise<StandardHostView> {
    const { store } = this.#deps;
    const before = await find(store, ref);
    const request = changed(settingsOf(before.row), await this.#secretsOf(before.row), change);
    const checked = checkSettings(request);
    const row = await this.#rowOf(before.host.id, checked, actor);
    const host = await store.transaction(async (tables) => {
      const now = await find(tables, before.host.id);
      if (now.row.changedAt !== before.row.changedAt || now.row.secrets !== before.row.secrets)
        throw new FairleadError('CONFLICT', 'the host was changed meanwhile: look at it, and try again');
      await tables.hawserStandard.put(row);
      await this.#record(tables, 'hawser-host.update', now.host, actor, checked);
      return now.host;
    });
    await this.#hosts.get(host.id)?.close('REPLACED', CHANGED);
    await this.#dial(host.id);
    return this.#view(host, row, checked.secrets);
  }

  /** Ends the connections to a host that is revoked or removed, and dials it no more. */
  disconnect(hostId: string, reason: string): void {
    void this.#hosts.get(hostId)?.close('HOST_OFFLINE', reason);
    this.#hosts.delete(hostId);
    this.#attempts.delete(hostId);
    this.#memories.delete(hostId);
  }

  /** Idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const hosts = [...this.#hosts.values()];
    this.#hosts.clear();
    this.#attempts.clear();
    await Promise.all(hosts.map((host) => host.close('SHUTDOWN', 'the server is stopping')));
  }

  /** Dials by what the store says now. Of attempts that overlap the last counts, unless the host is disconnected meanwhile. */
  async #dial(hostId: string): Promise<void> {
    if (this.#isClosed) return;
    const attempt = {};
    this.#attempts.set(hostId, attempt);
    const row = await this.#deps.store.hawserStandard.find(hostId);
    const address = row && (await this.#isWanted(hostId)) ? await this.#addressOf(row) : undefined;
    if (this.#attempts.get(hostId) !== attempt) return;
    this.#attempts.delete(hostId);
    // From here on nothing is waited for: one whose end is not seen to would be dialled for ever.
    void this.#hosts.get(hostId)?.close('REPLACED', CHANGED);
    this.#hosts.delete(hostId);
    if (address !== undefined) this.#hosts.set(hostId, this.#host(hostId, address));
  }

  #host(hostId: string, address: AgentAddress): StandardHost {
    const { clock, random, log, registry, memory, requestMs } = this.#deps;
    const once = this.#memories.get(hostId) ?? new Once({ clock, undone: neverSent });
    this.#memories.set(hostId, once);
    return new StandardHost({
      ...{ hostId, address, clock, random, log, registry, memory, once, turns: this.#turns, lookup: standardLookup },
      requestMs,
      isWanted: () => this.#isWanted(hostId),
    });
  }

  /** Not one that is gone, or that fairlead-agent has taken over: what was known of it goes then. */
  async #isWanted(hostId: string): Promise<boolean> {
    const { store } = this.#deps;
    const host = await store.hosts.find(hostId);
    if (host?.kind === 'hawser-standard') return host.revokedAt === undefined;
    await store.hawserStandard.delete(hostId);
    return false;
  }

  async #rowOf(
    hostId: string,
    { settings, secrets }: ReturnType<typeof checkSettings>,
    actor: Actor,
  ): Promise<HawserStandardRow> {
    return {
      hostId,
      settings: JSON.stringify(settings),
      secrets: await this.#deps.secrets.seal(JSON.stringify(secrets), contextOf(hostId)),
      changedBy: actor.name,
      changedAt: this.#deps.clock.now(),
    };
  }

  /** Undefined where they cannot be opened. */
  async #secretsOf({ hostId, secrets }: HawserStandardRow): Promise<StandardSecrets | undefined> {
    try {
      return JSON.parse(await this.#deps.secrets.open(secrets, contextOf(hostId))) as StandardSecrets;
    } catch (error) {
      this.#deps.log.debug({ err: error, hostId }, 'the token of a Hawser host cannot be opened');
      return undefined;
    }
  }

  /** One whose secrets cannot be opened is not dialled: that is logged, and shown. */
  async #addressOf(row: HawserStandardRow): Promise<AgentAddress | undefined> {
    const secrets = await this.#secretsOf(row);
    try {
      if (secrets !== undefined) return addressOf(settingsOf(row), secrets);
    } catch (error) {
      if (!isFairleadError(error)) throw error;
    }
    const why = 'a Hawser host is not dialled: its address is not allowed, or its token cannot be opened';
    this.#deps.log.error({ hostId: row.hostId }, why);
    return undefined;
  }

  #view(host: HostRow, row: HawserStandardRow, secrets: StandardSecrets | undefined): StandardHostView {
    const { changedBy, changedAt } = row;
    const unopened = 'it is not dialled: its token cannot be opened; set it anew';
    const idle = { isOnline: false, checkedAt: undefined, error: secrets === undefined ? unopened : undefined };
    return {
      ...{ hostId: host.id, hostName: host.name, changedBy, changedAt },
      ...settingsOf(row),
      proxy: shownProxy(secrets?.proxy),
      ...(this.#hosts.get(host.id)?.state ?? idle),
    };
  }

  async #record(
    tables: Tables,
    action: string,
    { id, name }: HostRow,
    actor: Actor,
    { settings, secrets }: ReturnType<typeof checkSettings>,
  ): Promise<void> {
    const { url, pin, ca, insecureHttp } = settings;
    const detail = { name, url, insecureHttp, pin, hasCa: ca !== undefined, proxy: shownProxy(secrets.proxy) };
    const entry = { actor: actor.name, address: actor.address, action, target: id, result: 'ok' as const };
    await this.#deps.audit.record({ ...entry, detail }, tables);
  }
}

function settingsOf({ settings }: HawserStandardRow): StandardSettings {
  return JSON.parse(settings) as StandardSettings;
}

/** What the secrets of a host are sealed as. */
function contextOf(hostId: string): string {
  return `hawser host ${hostId}`;
}

/** @throws FairleadError HOST_NOT_FOUND, NOT_FOUND */
async function find(
  tables: Pick<Tables, 'hosts' | 'hawserStandard'>,
  ref: string,
): Promise<{ host: HostRow; row: HawserStandardRow }> {
  const host = await tables.hosts.get(ref);
  const row = await tables.hawserStandard.find(host.id);
  if (row !== undefined) return { host, row };
  throw new FairleadError('NOT_FOUND', `the host ${host.name} is none that the server dials`);
}

/** @throws FairleadError VALIDATION for a token that cannot be opened and is not given anew */
function changed(
  settings: StandardSettings,
  secrets: StandardSecrets | undefined,
  change: StandardChange,
): StandardRequest {
  const token = change.token ?? secrets?.token;
  if (token === undefined) throw new FairleadError('VALIDATION', 'the stored token cannot be opened: give it anew');
  const url = change.url ?? settings.url;
  // A token that was meant for one place is not shown to another one because of a slip.
  if (change.token === undefined && new URL(settings.url).origin !== URL.parse(url)?.origin)
    throw new FairleadError('VALIDATION', 'another address needs its token: give both');
  const or = <T>(given: T | null | undefined, now: T | undefined) => (given === undefined ? now : (given ?? undefined));
  return {
    ...{ url, token, insecureHttp: change.insecureHttp ?? settings.insecureHttp },
    // One of them takes the place of the other.
    ca: or(change.ca, change.pin ? undefined : settings.ca),
    pin: or(change.pin, change.ca ? undefined : settings.pin),
    proxy: or(change.proxy, secrets?.proxy),
  };
}
