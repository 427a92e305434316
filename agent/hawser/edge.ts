/** Hawser's Edge mode: holds a session with a Dockhand server, and comes back when it ends. */

import { createHash } from 'node:crypto';
import { hostname } from 'node:os';
import { Backoff } from '../../shared/backoff.ts';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import { HAWSER_PROTOCOL, type Hello } from '../../shared/hawser/messages.ts';
import { RECONNECT_RESET_MS } from '../../shared/limits.ts';
import { containerExecOpen } from '../../shared/messages/container.ts';
import { hostEvents } from '../../shared/messages/host-events.ts';
import { hostMetrics } from '../../shared/messages/metrics.ts';
import { stackDeploy } from '../../shared/messages/stack.ts';
import { sleep } from '../../shared/sleep.ts';
import { endOfAttempt, type LinkEnd } from '../link/outcome.ts';
import { RetryDelay } from '../link/retry-delay.ts';
import { permits } from '../policy/policy.ts';
import type { EdgeConfig } from './config.ts';
import { dockerVersion, type HawserContext, TOLD_VERSION } from './context.ts';
import { dialEdge, type EdgeDeps } from './edge-dial.ts';
import { EdgeFeeds } from './edge-feeds.ts';
import { EdgeSession } from './edge-session.ts';

/** Waits after a refusal: a server may count each wrong token against the address, and lock it for minutes. */
const REFUSED_MIN_MS = 15_000;
const REFUSED_MAX_MS = 5 * 60_000;

export type { EdgeDeps } from './edge-dial.ts';

export class HawserEdge {
  readonly #config: EdgeConfig;
  readonly #context: HawserContext & EdgeDeps;
  readonly #stopping = new AbortController();
  readonly #feeds: EdgeFeeds;
  readonly #done: Promise<void>;

  private constructor(config: EdgeConfig, context: HawserContext & EdgeDeps) {
    this.#config = config;
    this.#context = context;
    this.#feeds = new EdgeFeeds(context);
    this.#done = this.#run();
  }

  /** Begins to connect, and goes on with it until it is closed. */
  static start(config: EdgeConfig, context: HawserContext & EdgeDeps): HawserEdge {
    return new HawserEdge(config, context);
  }

  /** Ends the session, and what goes on by it. Idempotent. */
  async close(): Promise<void> {
    this.#stopping.abort(new FairleadError('SHUTDOWN', 'the agent is stopping'));
    await this.#done;
  }

  /** Never rejects. */
  async #run(): Promise<void> {
    const { clock, log, random } = this.#context;
    const { signal } = this.#stopping;
    const delay = new RetryDelay(random);
    const refusals = new Backoff({ minMs: REFUSED_MIN_MS, maxMs: REFUSED_MAX_MS, random });
    while (!signal.aborted) {
      const { end, upMs, isRefusal } = await this.#oneSession();
      if (signal.aborted) return;
      if (upMs >= RECONNECT_RESET_MS) refusals.reset();
      const delayMs = (isRefusal ? refusals.nextAtLeastCeiling() : 0) + delay.next(end, upMs);
      const { code, reason } = end;
      log.warn({ code, reason, delayMs, upMs: Math.round(upMs) }, 'not connected to the Dockhand server; trying again');
      await sleep(delayMs, clock, signal).catch(() => undefined);
    }
  }

  /** One attempt, and the session to its end, if there is one. Never rejects. */
  async #oneSession(): Promise<{ end: LinkEnd; upMs: number; isRefusal: boolean }> {
    const { clock, log } = this.#context;
    const { url } = this.#config;
    const { signal } = this.#stopping;
    let session: EdgeSession;
    try {
      session = new EdgeSession(await dialEdge(this.#config, this.#context, signal), this.#context);
    } catch (error) {
      if (isFairleadError(error)) return { end: endOfAttempt(error), upMs: 0, isRefusal: false };
      log.error({ err: error }, 'the connection to the Dockhand server failed unexpectedly');
      return { end: { code: 'INTERNAL', reason: 'the agent failed; its log says why' }, upMs: 0, isRefusal: false };
    }
    const stop = () => session.close(1000, 'SHUTDOWN', 'the agent is stopping');
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
    try {
      session.greet(await this.#hello());
      const isWelcome = await session.welcomed;
      if (!isWelcome) return { end: await session.closed, upMs: 0, isRefusal: true };
      const startedAt = clock.monotonic();
      log.info({ url }, "connected to a Dockhand server, as Hawser's Edge mode");
      this.#feeds.feed(session);
      const end = await session.closed;
      return { end, upMs: clock.monotonic() - startedAt, isRefusal: false };
    } finally {
      signal.removeEventListener('abort', stop);
      await session.settled();
    }
  }

  async #hello(): Promise<Hello> {
    const { agentId, agentName } = this.#context;
    const { token } = this.#config;
    return {
      ...{ type: 'hello', version: TOLD_VERSION, protocol: HAWSER_PROTOCOL, agentId, agentName, token },
      tokenHash: createHash('sha256').update(token).digest('hex'),
      ...{ dockerVersion: dockerVersion(this.#context), hostname: hostname().slice(0, 255) },
      capabilities: await this.#capabilities(),
    };
  }

  async #capabilities(): Promise<string[]> {
    const { policy, stacks } = this.#context;
    const named = { exec: containerExecOpen, metrics: hostMetrics, events: hostEvents } as const;
    const capabilities = Object.entries(named).flatMap(([name, kind]) => (permits(policy, kind) ? [name] : []));
    if (!permits(policy, stackDeploy)) return capabilities;
    const hasCompose = await stacks.composeVersion().then(
      () => true,
      // There is none, or it does not answer: whoever asks for it is told which.
      () => false,
    );
    return hasCompose ? [...capabilities, 'compose'] : capabilities;
  }
}
