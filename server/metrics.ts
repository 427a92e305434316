/** What Prometheus learns of the server. */
import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import type { Clock, Timer } from '../shared/clock.ts';
import { HEARTBEAT_MS } from '../shared/limits.ts';
import { VERSION } from '../shared/version.ts';
import { type HostSeriesSources, hostSeries, MAX_SERIES_HOSTS } from './host-series.ts';
import type { HostState } from './hosts/host-view.ts';
import type { Certificates as CertificateRows } from './store/certificates.ts';
import type { HostRow, Hosts as HostRows } from './store/hosts.ts';

/** What a session counts about itself; every figure only ever rises, but for `openStreams`. */
export interface MeteredSession {
  readonly stats: {
    readonly bytesIn: number;
    readonly bytesOut: number;
    readonly framesIn: number;
    readonly framesOut: number;
    readonly creditStarvedMs: number;
    readonly socketBlockedMs: number;
    readonly resetsByCode: ReadonlyMap<string, number>;
  };
  readonly openStreams: number;
  /** When the last frame came, as `clock.now()`. */
  readonly lastActivityAt: number;
  /** Resolves once the session is over; its stats no longer change then. */
  readonly closed: Promise<unknown>;
}

export interface MetricsSources {
  /** Tells of every link that comes online; those that run over a session are counted. */
  readonly registry: {
    subscribe(listener: { online(link: object): void }): () => void;
  } & HostSeriesSources['registry'];
  readonly store: {
    readonly hosts: Pick<HostRows, 'list'>;
    readonly certificates: Pick<CertificateRows, 'active'>;
  };
  readonly clock: Clock;
  /** What a host uses, if that is known as of now. */
  readonly current?: NonNullable<HostSeriesSources['current']>;
  /** What the streams of all sessions may take together. */
  readonly memory?: { readonly usedBytes: number; readonly totalBytes: number };
}

const DAY_MS = 24 * 60 * 60_000;
/** Days within which a certificate expires; each count includes the ones before. */
const EXPIRY_DAYS = [0, 1, 3, 7, 14, 30, 90, 365];

interface Totals {
  sessions: number;
  bytesIn: number;
  bytesOut: number;
  framesIn: number;
  framesOut: number;
  creditStarvedMs: number;
  socketBlockedMs: number;
  resets: Map<string, number>;
}

/** After this much silence a heartbeat counts as missed: it was due, and had some time to arrive. */
const LATE_MS = HEARTBEAT_MS + HEARTBEAT_MS / 3;
const HOST_PAGE = 500;

/**
 * The metrics of one server.
 *
 * A session is counted from the moment its link comes online. A scrape adds what live sessions have counted to what ended
 * ones had; a session goes from the one to the other in one turn, so that no counter ever falls or counts twice.
 */
export class Metrics {
  readonly registry = new Registry();
  readonly #sources: MetricsSources;
  readonly #live = new Set<MeteredSession>();
  readonly #ended: Totals = emptyTotals();
  readonly #unsubscribe: () => void;
  readonly #watch: Timer;
  readonly #heartbeatsMissed: Counter;
  readonly #httpRequests: Counter<'method' | 'route' | 'status'>;
  readonly #seriesOmitted: Gauge;

  constructor(sources: MetricsSources) {
    this.#sources = sources;
    const { registry, clock } = sources;
    this.#unsubscribe = registry.subscribe({
      online: (link) => {
        const session = meteredOf(link);
        if (session !== undefined) this.#track(session);
      },
    });
    this.#watch = clock.setInterval(() => this.#countSilence(), HEARTBEAT_MS);
    collectDefaultMetrics({ register: this.registry });
    this.#heartbeatsMissed = new Counter({
      name: 'fairlead_heartbeats_missed_total',
      help: 'Heartbeats that agents did not send in time',
      registers: [this.registry],
    });
    this.#httpRequests = new Counter({
      name: 'fairlead_http_requests_total',
      help: 'Answered requests, by the pattern of their route',
      labelNames: ['method', 'route', 'status'],
      registers: [this.registry],
    });
    this.#seriesOmitted = new Gauge({
      name: 'fairlead_session_series_omitted',
      help: `Sessions without series of their own, which the first ${MAX_SERIES_HOSTS} hosts by name have`,
      registers: [this.registry],
    });
    this.#info();
    this.#sessionMetrics();
    this.#hostMetrics();
    this.#certificateMetrics();
  }

  get contentType(): string {
    return this.registry.contentType;
  }

  /** The text of a scrape. */
  async text(): Promise<string> {
    const series = await hostSeries(this.#sources);
    this.#seriesOmitted.set(Math.max(0, this.#live.size - series.hosts));
    return `${await this.registry.metrics()}${series.text}`;
  }

  httpRequest(method: string, route: string, status: number): void {
    this.#httpRequests.inc({ method, route, status: String(status) });
  }

  /** Stops watching sessions. Idempotent. */
  close(): void {
    this.#unsubscribe();
    this.#watch.cancel();
    this.registry.clear();
  }

  #track(session: MeteredSession): void {
    this.#live.add(session);
    const end = () => {
      if (!this.#live.delete(session)) return;
      addSession(this.#ended, session);
    };
    session.closed.then(end, end);
  }

  #countSilence(): void {
    const now = this.#sources.clock.now();
    for (const { lastActivityAt } of this.#live) if (now - lastActivityAt >= LATE_MS) this.#heartbeatsMissed.inc();
  }

  #totals(): Totals {
    const totals = { ...this.#ended, resets: new Map(this.#ended.resets) };
    for (const session of this.#live) addSession(totals, session);
    return totals;
  }

  #info(): void {
    const info = new Gauge({
      name: 'fairlead_info',
      help: 'The version of the server; always 1',
      labelNames: ['version'],
      registers: [this.registry],
    });
    info.set({ version: VERSION }, 1);
  }

  #sessionMetrics(): void {
    const live = this.#live;
    this.#gauge('fairlead_sessions', 'Sessions of agents', () => live.size);
    this.#gauge('fairlead_streams_open', 'Streams open in all sessions', () =>
      [...live].reduce((sum, session) => sum + session.openStreams, 0),
    );
    const { memory } = this.#sources;
    if (memory !== undefined) {
      this.#gauge('fairlead_stream_memory_bytes', 'Memory that streams hold or were promised', () => memory.usedBytes);
      this.#gauge('fairlead_stream_memory_limit_bytes', 'Memory that streams may take', () => memory.totalBytes);
    }
    this.#total('fairlead_sessions_total', 'Sessions begun so far', [], (totals) => [[{}, totals.sessions]]);
    this.#total('fairlead_session_bytes_total', 'Bytes of frames, by direction', ['direction'], (totals) => [
      [{ direction: 'in' }, totals.bytesIn],
      [{ direction: 'out' }, totals.bytesOut],
    ]);
    this.#total('fairlead_session_frames_total', 'Frames, by direction', ['direction'], (totals) => [
      [{ direction: 'in' }, totals.framesIn],
      [{ direction: 'out' }, totals.framesOut],
    ]);
    this.#total('fairlead_credit_starved_seconds_total', 'Time that data waited for credit', [], (totals) => [
      [{}, totals.creditStarvedMs / 1000],
    ]);
    this.#total('fairlead_socket_blocked_seconds_total', 'Time that data waited for the socket', [], (totals) => [
      [{}, totals.socketBlockedMs / 1000],
    ]);
    this.#total('fairlead_stream_resets_total', 'Streams that were reset, by code', ['code'], (totals) =>
      [...totals.resets].map(([code, count]) => [{ code }, count]),
    );
  }

  #hostMetrics(): void {
    const sources = this.#sources;
    new Gauge({
      name: 'fairlead_hosts',
      help: 'Hosts by state',
      labelNames: ['state'],
      registers: [this.registry],
      async collect() {
        const counts = await hostsByState(sources);
        for (const [state, count] of Object.entries(counts)) this.set({ state }, count);
      },
    });
  }

  #certificateMetrics(): void {
    const { store, clock } = this.#sources;
    new Gauge({
      name: 'fairlead_certificates_expiring',
      help: 'Active certificates of agents that expire within so many days, shorter times included; +Inf: all',
      labelNames: ['days'],
      registers: [this.registry],
      async collect() {
        const days = (await store.certificates.active()).map(({ notAfter }) => (notAfter - clock.now()) / DAY_MS);
        for (const limit of EXPIRY_DAYS) this.set({ days: limit }, days.filter((left) => left <= limit).length);
        this.set({ days: '+Inf' }, days.length);
      },
    });
  }

  #gauge(name: string, help: string, value: () => number): void {
    new Gauge({
      name,
      help,
      registers: [this.registry],
      collect() {
        this.set(value());
      },
    });
  }

  #total(
    name: string,
    help: string,
    labelNames: string[],
    values: (totals: Totals) => [labels: Record<string, string>, value: number][],
  ): void {
    const totals = () => this.#totals();
    new Counter({
      name,
      help,
      labelNames,
      registers: [this.registry],
      collect() {
        const current = values(totals());
        this.reset();
        for (const [labels, value] of current) this.inc(labels, value);
      },
    });
  }
}

async function hostsByState({ store, registry }: MetricsSources): Promise<Record<HostState, number>> {
  const counts = { online: 0, offline: 0, pending: 0, revoked: 0 };
  let cursor: string | undefined;
  do {
    const page = await store.hosts.list({ limit: HOST_PAGE, cursor });
    for (const host of page.items) counts[stateOf(host, registry.link(host.id) !== undefined)] += 1;
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  return counts;
}

function stateOf({ revokedAt, lastSeenAt }: HostRow, isOnline: boolean): HostState {
  if (revokedAt !== undefined) return 'revoked';
  if (isOnline) return 'online';
  return lastSeenAt === undefined ? 'pending' : 'offline';
}

function emptyTotals(): Totals {
  return {
    sessions: 0,
    bytesIn: 0,
    bytesOut: 0,
    framesIn: 0,
    framesOut: 0,
    creditStarvedMs: 0,
    socketBlockedMs: 0,
    resets: new Map(),
  };
}

function addSession(totals: Totals, { stats }: MeteredSession): void {
  totals.sessions += 1;
  totals.bytesIn += stats.bytesIn;
  totals.bytesOut += stats.bytesOut;
  totals.framesIn += stats.framesIn;
  totals.framesOut += stats.framesOut;
  totals.creditStarvedMs += stats.creditStarvedMs;
  totals.socketBlockedMs += stats.socketBlockedMs;
  for (const [code, count] of stats.resetsByCode) totals.resets.set(code, (totals.resets.get(code) ?? 0) + count);
}

/** The session of a link that measures it; links of other protocols do not. */
function meteredOf(link: object): MeteredSession | undefined {
  const session: unknown = 'session' in link ? link.session : undefined;
  const isMetered = typeof session === 'object' && session !== null && 'stats' in session;
  return isMetered ? (session as MeteredSession) : undefined;
}
