/** One host whose agent listens: dialled, looked after while it answers, and looked for with growing pauses while it does not. */
import type { LookupFunction } from 'node:net';
import type { Logger } from 'pino';
import Type, { type Static } from 'typebox';
import { Backoff } from '../../../shared/backoff.ts';
import type { Clock } from '../../../shared/clock.ts';
import { type ErrorCode, FairleadError, isFairleadError } from '../../../shared/errors.ts';
import type { Hello } from '../../../shared/hawser/messages.ts';
import type { MemoryPool } from '../../../shared/mux/memory-pool.ts';
import type { Once } from '../../../shared/once.ts';
import { sleep } from '../../../shared/sleep.ts';
import { fits } from '../../../shared/validate.ts';
import type { HostRegistry } from '../../hosts/registry.ts';
import type { Turns } from '../../turns.ts';
import { HawserLink } from '../hawser-link.ts';
import { RefusedByAgent } from './agent-answer.ts';
import { type AgentAddress, Connections } from './connections.ts';
import { STANDARD_KINDS } from './kinds.ts';
import {
  HEALTH_FAILURES,
  HEALTH_LEAST_MS,
  HEALTH_MS,
  HEALTH_RETRY_MS,
  HEALTH_TIMEOUT_MS,
  RECONNECT,
  REFUSED_MS,
} from './limits.ts';
import { StandardTransport } from './standard-transport.ts';

const text = (maxLength: number) => Type.String({ maxLength });
/** What an agent says of itself; newer ones say more. */
const Info = Type.Object(
  {
    agentId: text(128),
    agentName: text(255),
    dockerVersion: Type.Optional(text(64)),
    hawserVersion: text(64),
    /** In seconds. */
    uptime: Type.Optional(Type.Number()),
    capabilities: Type.Optional(Type.Union([Type.Array(text(64), { maxItems: 64 }), Type.Null()])),
  },
  { additionalProperties: true },
);
type Info = Static<typeof Info>;

/** What agents can do that do not say it. */
const USUAL_CAPABILITIES = ['exec', 'events', 'compose'];
/** All agents share one lane: so many are looked for at once. */
const LANE = 'agents';

export interface StandardHostOptions {
  readonly hostId: string;
  readonly address: AgentAddress;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
  readonly registry: HostRegistry;
  /** Turns of those that look for their agents. */
  readonly turns: Turns;
  readonly once: Once;
  readonly memory?: MemoryPool | undefined;
  readonly lookup?: LookupFunction | undefined;
  /** Time for an answer that is not streamed: 30 s unless given. */
  readonly requestMs?: number | undefined;
  /** Whether the host is still to be dialled; asked before each session. */
  isWanted(): Promise<boolean>;
}

/** How it goes. Times are ms since 1970. */
export interface StandardState {
  readonly isOnline: boolean;
  /** When it was last looked for, or after. */
  readonly checkedAt: number | undefined;
  /** What was wrong then. */
  readonly error: string | undefined;
}

/** An agent that answers. */
interface Session {
  readonly transport: StandardTransport;
  readonly link: HawserLink;
  readonly info: Info;
}

export class StandardHost {
  readonly #options: StandardHostOptions;
  readonly #closing = new AbortController();
  readonly #backoff: Backoff;
  readonly #done: Promise<void>;
  #state: StandardState = { isOnline: false, checkedAt: undefined, error: undefined };
  #transport: StandardTransport | undefined;
  /** Ends the pause before the next look. */
  #wake: (() => void) | undefined;

  /** Begins to look for the agent. */
  constructor(options: StandardHostOptions) {
    this.#options = options;
    this.#backoff = new Backoff({ ...RECONNECT, random: options.random });
    this.#done = this.#run();
  }

  get state(): StandardState {
    return this.#state;
  }

  /** Ends what is in progress and looks for the agent no more. Idempotent. */
  async close(code: ErrorCode, reason: string): Promise<void> {
    this.#closing.abort(new FairleadError(code, reason));
    this.#transport?.close(code, reason);
    await this.#done;
  }

  /** Never rejects. */
  async #run(): Promise<void> {
    const { clock, log, hostId } = this.#options;
    const { signal } = this.#closing;
    // Hosts that are dialled at the start of the server do not all come at once.
    let waitMs = this.#backoff.next();
    while (!signal.aborted) {
      try {
        await sleep(waitMs, clock, signal);
        if (!(await this.#options.isWanted())) return;
        const session = await this.#begin();
        this.#backoff.reset();
        await this.#stay(session);
        waitMs = this.#backoff.next();
      } catch (error) {
        if (signal.aborted) return;
        if (!isFairleadError(error)) log.error({ err: error, hostId }, 'a Hawser host was not looked for');
        waitMs = this.#failed(error);
      }
    }
  }

  /** @returns how long to wait, in ms */
  #failed(error: unknown): number {
    const { log, hostId, clock, random } = this.#options;
    const message = isFairleadError(error) ? error.message : 'the server failed; its log says why';
    if (message !== this.#state.error) log.warn({ hostId, reason: message }, 'a Hawser host cannot be reached');
    this.#state = { isOnline: false, checkedAt: clock.now(), error: message };
    const waitMs = this.#backoff.nextAtLeastCeiling();
    return error instanceof RefusedByAgent ? Math.max(waitMs, REFUSED_MS * (1 + random())) : waitMs;
  }

  /** @throws FairleadError what keeps the agent from being reached */
  async #begin(): Promise<Session> {
    const { clock, address, lookup, memory, turns, registry, hostId, once, log } = this.#options;
    const connections = new Connections({ address, clock, ...(lookup === undefined ? {} : { lookup }) });
    const transport = new StandardTransport({ connections, clock, memory, onTrouble: () => this.#wake?.() });
    this.#transport = transport;
    const endTurn = await turns.take(LANE, this.#closing.signal);
    try {
      const info = await this.#look(transport);
      const hello = helloOf(info);
      const link = new HawserLink({
        ...{ hostId, transport, kinds: STANDARD_KINDS, hello, once, log, connectedAt: clock.now() },
        requestMs: this.#options.requestMs,
      });
      await link.learn();
      // Another agent may have taken the host over meanwhile: it is not to lose its place to this one.
      const isWanted = await this.#options.isWanted();
      this.#closing.signal.throwIfAborted();
      if (!isWanted) throw new FairleadError('REPLACED', 'the host has another agent now');
      this.#state = { isOnline: true, checkedAt: clock.now(), error: undefined };
      registry.attach(link);
      log.info({ hostId, agentVersion: info.hawserVersion }, 'host online');
      return { transport, link, info };
    } catch (error) {
      transport.close('HOST_OFFLINE', 'the agent cannot be reached');
      throw error;
    } finally {
      endTurn();
    }
  }

  /** Looks after an agent until it does not answer, or is another one. */
  async #stay({ transport, link, info }: Session): Promise<void> {
    const { clock } = this.#options;
    let failures = 0;
    for (;;) {
      await this.#pause(failures === 0 ? HEALTH_MS : HEALTH_RETRY_MS);
      try {
        const now = await this.#look(transport);
        failures = 0;
        this.#state = { isOnline: true, checkedAt: clock.now(), error: undefined };
        if (isAnother(info, now)) {
          transport.close('STREAM_INTERRUPTED', 'the agent of Hawser was started anew');
          return;
        }
        await link.learn();
      } catch (error) {
        failures += 1;
        this.#closing.signal.throwIfAborted();
        // Nothing listens there any more, or not for this server: that need not be asked twice.
        const isSure = isFairleadError(error, 'HOST_OFFLINE') || error instanceof RefusedByAgent;
        if (failures < HEALTH_FAILURES && !isSure) continue;
        transport.close('STREAM_INTERRUPTED', error instanceof Error ? error.message : 'the agent does not answer');
        throw error;
      }
    }
  }

  /** Waits for `ms`, or until a request has met trouble, but not for less than it takes to look again. */
  async #pause(ms: number): Promise<void> {
    const { clock } = this.#options;
    const least = Math.min(ms, HEALTH_LEAST_MS);
    const { promise: troubled, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    const over = new AbortController();
    const { signal } = this.#closing;
    try {
      await sleep(least, clock, signal);
      await Promise.race([troubled, sleep(ms - least, clock, AbortSignal.any([signal, over.signal]))]);
    } finally {
      this.#wake = undefined;
      over.abort();
    }
  }

  /** @throws FairleadError TIMEOUT, HOST_OFFLINE, STREAM_INTERRUPTED, OVERLOADED */
  async #look(transport: StandardTransport): Promise<Info> {
    const { signal } = this.#closing;
    const answer = await transport.ask(
      { method: 'GET', path: '/_hawser/info' },
      { signal, timeoutMs: HEALTH_TIMEOUT_MS },
    );
    const info = answer.status === 200 ? infoIn(answer.body) : undefined;
    if (info !== undefined) return info;
    const why = `no agent of Hawser listens at its address: GET /_hawser/info is answered by ${answer.status}`;
    throw new FairleadError('HOST_OFFLINE', why);
  }
}

function infoIn(body: Buffer): Info | undefined {
  try {
    const value: unknown = JSON.parse(body.toString('utf8'));
    return fits(Info, value) ? value : undefined;
  } catch {
    // No JSON: said by the caller.
    return undefined;
  }
}

function helloOf({ agentId, agentName, dockerVersion, hawserVersion, capabilities }: Info): Omit<Hello, 'token'> {
  return {
    ...{ type: 'hello', version: hawserVersion, protocol: '1.0', agentId, agentName, hostname: agentName },
    ...(dockerVersion === undefined ? {} : { dockerVersion }),
    capabilities: capabilities ?? USUAL_CAPABILITIES,
  };
}

/** Ids are made anew at each start, unless they are configured: then the clock of the process tells. */
function isAnother(before: Info, now: Info): boolean {
  return before.agentId !== now.agentId || (now.uptime ?? 0) < (before.uptime ?? 0);
}
