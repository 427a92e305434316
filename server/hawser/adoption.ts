/**
 * Hosts of Hawser whose agent gives way to one of Fairlead's. The new one enrolls for the same host and connects; the old one
 * serves until the new one has shown that it works. Then, in one transaction, the host becomes native and the tokens of the
 * old agent end. What there is to know stands in the rows of host, tokens and certificates: a server that is killed on the
 * way goes on when the new agent connects again.
 */
import type { Logger } from 'pino';
import type { Clock, Timer } from '../../shared/clock.ts';
import { FairleadError, isFairleadError, toWireError } from '../../shared/errors.ts';
import { hostInfo } from '../../shared/messages/host.ts';
import type { Actor, Audit } from '../audit/audit.ts';
import type { CreatedEnrollmentToken, Enrollment } from '../enrollment/enrollment.ts';
import { type CutOff, requireAdoptable, takeBack } from '../enrollment/take-over.ts';
import type { HostLink } from '../hosts/host-link.ts';
import type { HostRegistry } from '../hosts/registry.ts';
import { keepRecent } from '../keep-recent.ts';
import type { Tables } from '../store/all-tables.ts';
import type { HostRow } from '../store/hosts.ts';
import type { Store } from '../store/store.ts';
import type { HawserTokens } from './tokens.ts';

/** How long each question of a trial may take. */
const ANSWER_MS = 10_000;
/** Between the trials of an agent that is connected and does not work. */
const AGAIN_MS = 10_000;
/** Hosts of which it is remembered why their new agent did not work. */
const MAX_FAILURES = 1_000;
const ACTION = 'host.adopt';
const CANCELLED = 'the adoption of the host was cancelled';
const TAKEN_OVER = 'fairlead-agent has taken this host over: stop the agent of Hawser and remove it';

/**
 * `none`: nobody has asked for it, or it was taken back. `offered`: a token waits. `enrolled`: the new agent has a certificate
 * and is not connected. `trying`: it is connected, and has not shown that it works. `done`: it serves the host.
 */
export type AdoptionState = 'none' | 'offered' | 'enrolled' | 'trying' | 'done';

export interface AdoptionView {
  readonly state: AdoptionState;
  readonly hostId: string;
  readonly hostName: string;
  /** The id of the last enrollment token that was made for it. */
  readonly tokenId: string | undefined;
  /** When that can be used no longer, ms since 1970. */
  readonly expiresAt: number | undefined;
  /** Why the new agent was found not to work when it was tried last. */
  readonly why: string | undefined;
}

export interface AdoptionOffer extends Omit<CreatedEnrollmentToken, 'hostId' | 'hostName'> {
  readonly hostId: string;
  readonly hostName: string;
}

export interface AdoptionDeps {
  readonly store: Store;
  readonly audit: Audit;
  readonly clock: Clock;
  readonly log: Pick<Logger, 'info' | 'warn' | 'error'>;
  readonly registry: HostRegistry;
  readonly enrollment: Pick<Enrollment, 'createToken'>;
  readonly tokens: Pick<HawserTokens, 'announceEnd'>;
  readonly cutOff: CutOff;
  /** Dials the agent of Hawser no more. Synchronous. */
  stopDialling(hostId: string, reason: string): void;
}

/** A new agent that is connected and on trial. */
interface Candidate {
  readonly link: HostLink;
  /** Those of the certificates that its session runs by, or will once it has used them. */
  serials(): readonly string[];
  timer: Timer | undefined;
}

export class Adoption {
  readonly #deps: AdoptionDeps;
  /** By host: one of each, the newest. */
  readonly #candidates = new Map<string, Candidate>();
  /** Why the agents of these hosts did not work, by host. */
  readonly #failures = new Map<string, string>();
  readonly #running = new Set<Promise<void>>();
  #isClosed = false;

  constructor(deps: AdoptionDeps) {
    this.#deps = deps;
  }

  /**
   * A token by which one agent of Fairlead may take the host over; one that waited before ends.
   * @throws FairleadError HOST_NOT_FOUND, CONFLICT for a host that is native or revoked, VALIDATION
   */
  async offer(ref: string, { ttlSeconds }: { ttlSeconds?: number | undefined }, actor: Actor): Promise<AdoptionOffer> {
    const { id, name } = await requireAdoptable(this.#deps.store, ref);
    const request = { adopts: id, name: `adopt ${name}`.slice(0, 64), ttlSeconds };
    return { ...(await this.#deps.enrollment.createToken(request, actor)), hostId: id, hostName: name };
  }

  /** @throws FairleadError HOST_NOT_FOUND */
  async look(ref: string): Promise<AdoptionView> {
    const { store, clock } = this.#deps;
    const { id, name, kind } = await store.hosts.get(ref);
    const token = await store.enrollmentTokens.adopting(id);
    const common = { hostId: id, hostName: name, tokenId: token?.id, expiresAt: token?.expiresAt };
    if (kind === 'native') return { ...common, state: token?.use === undefined ? 'none' : 'done', why: undefined };
    // Also in quarantine, whose end lets that agent in again.
    if ((await store.certificates.list({ limit: 1 }, { hostId: id, state: 'active' })).items.length > 0) {
      const state = this.#candidates.has(id) ? 'trying' : 'enrolled';
      return { ...common, state, why: this.#failures.get(id) };
    }
    const waits = token?.use === undefined && token?.revokedAt === undefined && (token?.expiresAt ?? 0) > clock.now();
    return { ...common, state: waits ? 'offered' : 'none', why: undefined };
  }

  /**
   * Takes back what was handed out: tokens, and the certificate of an agent that has not taken the host over yet.
   * @throws FairleadError HOST_NOT_FOUND, NOT_FOUND if there is nothing to take back
   */
  async cancel(ref: string, actor: Actor): Promise<void> {
    const { store, audit, clock, cutOff } = this.#deps;
    const { host, serials } = await store.transaction(async (tables) => {
      const found = await tables.hosts.get(ref);
      const { id, name, kind } = found;
      if (kind === 'native') throw new FairleadError('CONFLICT', `fairlead-agent has taken ${name} over already`);
      const waiting = await isWaiting(tables, id, clock.now());
      const tokenIds = await tables.enrollmentTokens.revokeAdopting(id, clock.now(), 'all');
      const revoked = await takeBack(tables, id, clock.now(), CANCELLED);
      if (!waiting && revoked.length === 0) throw new FairleadError('NOT_FOUND', `nothing is to take ${name} over`);
      const detail = { name, tokenIds, serials: revoked };
      const entry = { actor: actor.name, address: actor.address, action: 'adoption.cancel', target: id };
      await audit.record({ ...entry, result: 'ok', detail }, tables);
      return { host: found, serials: revoked };
    });
    this.#failures.delete(host.id);
    if (serials.length > 0) cutOff(host.id, serials, CANCELLED);
  }

  /** Whether the host has another agent still, so that one of Fairlead's is to be handed to `arrived`. */
  async isUnderWay(hostId: string): Promise<boolean> {
    const host = await this.#deps.store.hosts.find(hostId);
    return host !== undefined && host.kind !== 'native';
  }

  /**
   * Takes in the link of a new agent, which serves the host once it is found to work. A newer one takes its place.
   * @param serials those of the certificates that its session runs by, or will once it has used them
   */
  arrived(link: HostLink, serials: () => readonly string[]): void {
    if (this.#isClosed) return;
    const { hostId } = link;
    const before = this.#candidates.get(hostId);
    before?.timer?.cancel();
    const candidate: Candidate = { link, serials, timer: undefined };
    this.#candidates.set(hostId, candidate);
    before?.link.close('REPLACED', 'a newer session of this host took over');
    void link.closed.then(() => this.#drop(candidate));
    this.#start(candidate);
  }

  /** A newer link of the host, which is native by now, serves it already. */
  settled(hostId: string): void {
    const late = this.#candidates.get(hostId);
    if (late === undefined) return;
    this.#candidates.delete(hostId);
    late.link.close('REPLACED', 'a newer session of this host took over');
  }

  /** Tries no more, and waits for what is being tried. Idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const { timer } of this.#candidates.values()) timer?.cancel();
    await Promise.all(this.#running);
  }

  #drop(candidate: Candidate): void {
    candidate.timer?.cancel();
    if (this.#isCurrent(candidate)) this.#candidates.delete(candidate.link.hostId);
  }

  #isCurrent(candidate: Candidate): boolean {
    return this.#candidates.get(candidate.link.hostId) === candidate;
  }

  #start(candidate: Candidate): void {
    if (this.#isClosed || !this.#isCurrent(candidate)) return;
    const running: Promise<void> = this.#try(candidate).finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  /** Never rejects. */
  async #try(candidate: Candidate): Promise<void> {
    const { clock, log } = this.#deps;
    const { link } = candidate;
    try {
      await this.#requireWorking(link);
      await this.#take(candidate);
    } catch (error) {
      if (!isFairleadError(error)) log.error({ err: error, hostId: link.hostId }, 'an agent could not be tried');
      if (!this.#isCurrent(candidate)) return;
      await this.#noteFailure(link, error);
      if (this.#isClosed || !this.#isCurrent(candidate)) return;
      candidate.timer = clock.setTimeout(() => this.#start(candidate), AGAIN_MS);
    }
  }

  /** That it answers, reaches Docker, and the same one as the agent whose place it is to take, if that is connected. */
  async #requireWorking(link: HostLink): Promise<void> {
    await link.ping({ timeoutMs: ANSWER_MS });
    const engine = await engineOf(link);
    const { docker } = link.describe();
    if (!docker.reachable) {
      throw new FairleadError('DOCKER_UNREACHABLE', `the new agent does not reach Docker: ${docker.reason ?? ''}`);
    }
    const other = this.#deps.registry.link(link.hostId);
    if (engine === undefined || other === undefined) return;
    // Of one that does not answer nothing is lost.
    const theirs = await engineOf(other).catch(() => undefined);
    if (theirs === undefined || theirs === engine) return;
    throw new FairleadError(
      'CONFLICT',
      'the new agent is not at the Docker that the host has now: it was enrolled on another machine; cancel, and adopt anew',
    );
  }

  async #take(candidate: Candidate): Promise<void> {
    const { store, clock, log, registry, tokens, stopDialling } = this.#deps;
    const { link } = candidate;
    const { hostId } = link;
    const taken = await store.transaction((tables) => this.#takeRows(tables, candidate, clock.now()));
    // Removed, revoked, confined or taken back in this very moment: whoever did it ends the session.
    if (taken === undefined) return;
    this.#failures.delete(hostId);
    const isCurrent = this.#isCurrent(candidate);
    // All in one turn, so that the host is never offline in between.
    if (isCurrent) registry.link(hostId)?.close('REPLACED', TAKEN_OVER);
    stopDialling(hostId, TAKEN_OVER);
    if (isCurrent) {
      this.#candidates.delete(hostId);
      registry.attach(link);
    }
    for (const tokenId of taken.tokenIds) tokens.announceEnd(tokenId);
    log.info({ hostId, host: taken.host.name }, 'fairlead-agent has taken a host over');
  }

  /** @returns nothing if the host, or the new agent, is not to serve any more */
  async #takeRows(tables: Tables, { link, serials }: Candidate, now: number): Promise<Taken | undefined> {
    const { hostId } = link;
    const host = await tables.hosts.find(hostId);
    if (host === undefined || host.revokedAt !== undefined) return undefined;
    // Its own: that may be void by now, and the one that is active another agent's, which nobody has tried.
    const active = await tables.certificates.active(hostId);
    if (!active.some(({ serial }) => serials().includes(serial))) return undefined;
    if (!(await tables.hosts.setKind(hostId, 'native'))) return { host, tokenIds: [] };
    const tokenIds = await tables.hawserTokens.revokeOf([hostId], now);
    await tables.hawserStandard.delete(hostId);
    await tables.enrollmentTokens.revokeAdopting(hostId, now, 'unused');
    const { agentVersion, hostname } = link.describe();
    const detail = { name: host.name, before: host.kind, tokenIds, agentVersion, hostname };
    const entry = { actor: `host:${host.name}`, action: ACTION, target: hostId, result: 'ok' as const };
    await this.#deps.audit.record({ ...entry, detail }, tables);
    return { host, tokenIds };
  }

  /** Written down once for each reason, however often it is tried. */
  async #noteFailure({ hostId }: HostLink, error: unknown): Promise<void> {
    const { audit, log } = this.#deps;
    const { code, message } = toWireError(error);
    if (this.#failures.get(hostId) === message) return;
    keepRecent(this.#failures, hostId, message, MAX_FAILURES);
    log.warn({ hostId, code }, `an agent that is to take a host over does not work: ${message}`);
    const detail = { code, reason: message };
    await audit.recordOrLog({ actor: `host:${hostId}`, action: ACTION, target: hostId, result: 'failed', detail });
  }
}

interface Taken {
  readonly host: HostRow;
  /** Hawser's, which have ended with it. */
  readonly tokenIds: readonly string[];
}

async function isWaiting(tables: Tables, hostId: string, now: number): Promise<boolean> {
  const token = await tables.enrollmentTokens.adopting(hostId);
  return token !== undefined && token.revokedAt === undefined && token.use === undefined && token.expiresAt > now;
}

/** What tells one Docker from another; undefined where the host's owner does not let it be asked. */
async function engineOf(link: HostLink): Promise<string | undefined> {
  try {
    const { docker, dockerInfo } = await link.call(hostInfo, {}, { timeoutMs: ANSWER_MS });
    if (dockerInfo === undefined) {
      throw new FairleadError('DOCKER_UNREACHABLE', `Docker did not answer: ${docker.reason ?? 'no reason given'}`);
    }
    const { ID: id } = dockerInfo;
    return typeof id === 'string' && id !== '' ? id : undefined;
  } catch (error) {
    if (isFairleadError(error, 'DENIED_BY_HOST')) return undefined;
    throw error;
  }
}
