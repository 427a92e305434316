/** What the server itself notices of hosts: that they come and go, and what the audit log says was done to them. */
import type { Logger } from 'pino';
import type { ChainRow } from '../../shared/audit-chain.ts';
import type { Clock, Timer } from '../../shared/clock.ts';
import type { Audit } from '../audit/audit.ts';
import type { HostLink } from '../hosts/host-link.ts';
import type { HostRegistry } from '../hosts/registry.ts';
import type { NewEvent } from '../store/events.ts';
import type { Store } from '../store/store.ts';
import type { EventLog } from './event-log.ts';
import type { HostDirectory } from './host-directory.ts';

const SOURCE = 'audit';
/** Rows of the audit log that are read at once, and how long those that come are waited for. */
const READ_ROWS = 200;
const GATHER_MS = 20;
/** Rows of a transaction are told of before it ends, so the table is looked at by itself, too. */
const POLL_MS = 1_000;

/** Which event an action of the audit log makes, if it was done. */
const DONE: ReadonlyMap<string, string> = new Map([
  ['host.enroll', 'host.enrolled'],
  ['host.adopt', 'host.adopted'],
  ['host.update', 'host.updated'],
  ['host.revoke', 'host.revoked'],
  ['host.leave', 'host.left'],
  ['host.remove', 'host.removed'],
  ['host.quarantine', 'host.quarantined'],
  ['host.release', 'host.released'],
  ['host.recover', 'host.recovered'],
  ['session.replace', 'session.replaced'],
  ['certificate.activate', 'certificate.renewed'],
  ['certificate.revoke', 'certificate.revoked'],
]);
/** … and if it was refused. */
const REFUSED: ReadonlyMap<string, string> = new Map([['host.connect', 'host.refused']]);
/** What is taken over of a row: nothing of who asked for it, which is for those who may read the audit log. */
const TOLD = ['name', 'tags', 'reason', 'code', 'serial', 'serials'] as const;
const MAX_TOLD_CHARS = 256;

/** What a part of the server has noticed. */
export interface ServerNews {
  readonly hostId?: string;
  /** As `upgrade.done`. */
  readonly type: string;
  /** What it is about, where that is no host. */
  readonly subject?: string;
  readonly attributes: Record<string, string>;
}

export interface HostNewsDeps {
  readonly store: Pick<Store, 'audit' | 'eventSources'>;
  readonly audit: Pick<Audit, 'onRows'>;
  readonly registry: Pick<HostRegistry, 'subscribe'>;
  readonly eventLog: EventLog;
  readonly directory: HostDirectory;
  readonly clock: Clock;
  readonly log: Pick<Logger, 'error'>;
}

export class HostNews {
  readonly #deps: HostNewsDeps;
  readonly #stops: readonly (() => void)[];
  readonly #poll: Timer;
  #gathering: Timer | undefined;
  #reading: Promise<void> | undefined;
  /** The last row of the audit log that was looked at. */
  #row: number;
  /** Links that took over from another one of their host. */
  readonly #successors = new WeakSet<HostLink>();
  readonly #telling = new Set<Promise<void>>();

  /** Goes on with the audit log where the last server stopped. @throws FairleadError STORE_UNAVAILABLE */
  static async open(deps: HostNewsDeps): Promise<HostNews> {
    const { eventSources, audit } = deps.store;
    const saved = await eventSources.position(SOURCE);
    return new HostNews(deps, saved === undefined ? ((await audit.head())?.id ?? 0) : Number(saved));
  }

  private constructor(deps: HostNewsDeps, row: number) {
    this.#deps = deps;
    this.#row = row;
    const { audit, registry, clock } = deps;
    this.#stops = [
      audit.onRows(() => {
        this.#gathering ??= clock.setTimeout(() => {
          this.#gathering = undefined;
          void this.read();
        }, GATHER_MS);
      }),
      registry.subscribe({
        replaced: (_older, newer) => void this.#successors.add(newer),
        online: (link) => this.#tell(link, 'host.online', factsOf(link, this.#successors.has(link))),
        offline: (link, { code, message }) => this.#tell(link, 'host.offline', { code, reason: message }),
      }),
    ];
    this.#poll = clock.setInterval(() => void this.read(), POLL_MS);
  }

  /** Tells what the audit log has of late, now. Never rejects: a failure is logged, and what is left comes the next time. */
  async read(): Promise<void> {
    this.#reading ??= this.#read()
      .catch((error: unknown) => this.#deps.log.error({ err: error }, 'the audit log could not be made events of'))
      .finally(() => {
        this.#reading = undefined;
      });
    await this.#reading;
  }

  /** Tells of what another part of the server has noticed, of a host or of none. Returns at once. */
  tell({ hostId, type, subject, attributes }: ServerNews): void {
    this.#add(hostId, type, attributes, subject);
  }

  /** Idempotent. */
  async close(): Promise<void> {
    for (const stop of this.#stops) stop();
    this.#poll.cancel();
    this.#gathering?.cancel();
    await this.#reading;
    await this.read();
    await Promise.all(this.#telling);
  }

  async #read(): Promise<void> {
    const { store } = this.#deps;
    for (;;) {
      const rows = await store.audit.read(this.#row, Number.MAX_SAFE_INTEGER, READ_ROWS);
      const last = rows.at(-1);
      if (last === undefined) return;
      const events: NewEvent[] = [];
      for (const row of rows) events.push(...(await this.#eventOf(row)));
      for (const result of await this.#deps.eventLog.add(events)) {
        if (result.status === 'rejected') throw result.reason;
      }
      await store.eventSources.put([[SOURCE, String(last.id)]]);
      this.#row = last.id;
    }
  }

  async #eventOf({ at, action, target, result, detail }: ChainRow): Promise<NewEvent[]> {
    const type = result === 'ok' ? DONE.get(action) : result === 'refused' ? REFUSED.get(action) : undefined;
    if (type === undefined || target === null) return [];
    const facts = JSON.parse(detail) as Record<string, unknown>;
    const name = typeof facts['name'] === 'string' ? facts['name'] : (await this.#deps.directory.find(target))?.name;
    return [this.#event(type, at, target, name ?? target, toldOf(facts))];
  }

  #tell({ hostId }: HostLink, type: string, attributes: Record<string, string>): void {
    this.#add(hostId, type, attributes);
  }

  #add(hostId: string | undefined, type: string, attributes: Record<string, string>, subject?: string): void {
    const { clock, directory, eventLog, log } = this.#deps;
    const at = clock.now();
    const telling: Promise<void> = (async () => {
      const name = hostId && ((await directory.find(hostId))?.name ?? hostId);
      const [result] = await eventLog.add([this.#event(type, at, hostId, name, attributes, subject)]);
      if (result?.status === 'rejected') throw result.reason;
    })()
      .catch((error: unknown) => log.error({ err: error, hostId, type }, 'an event was not written'))
      .finally(() => this.#telling.delete(telling));
    this.#telling.add(telling);
  }

  #event(
    type: string,
    at: number,
    hostId: string | undefined,
    host: string | undefined,
    attributes: Record<string, string>,
    subject?: string,
  ): NewEvent {
    const timeMicros = at * 1000;
    return { timeMicros, hostId, host, type, action: undefined, subject, attributes: JSON.stringify(attributes) };
  }
}

function factsOf(link: HostLink, isSuccessor: boolean): Record<string, string> {
  const { agentVersion, docker } = link.describe();
  return {
    agentVersion,
    docker: docker.reachable ? (docker.version ?? 'reachable') : 'unreachable',
    ...(isSuccessor ? { replaces: 'an older session' } : {}),
  };
}

function toldOf(detail: Readonly<Record<string, unknown>>): Record<string, string> {
  const told: Record<string, string> = {};
  for (const name of TOLD) {
    const value = detail[name];
    if (value === undefined || value === null) continue;
    const text = Array.isArray(value) ? value.join(', ') : String(value);
    told[name] = text.slice(0, MAX_TOLD_CHARS).toWellFormed();
  }
  return told;
}
