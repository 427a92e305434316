/** Agents of rollouts: real sessions of real hosts, whose answer to an offered release is the test's to give. */
import { randomUUID } from 'node:crypto';
import https from 'node:https';
import { loadIdentity } from '../../agent/identity/state-dir.ts';
import { connect } from '../../agent/link/connect.ts';
import { systemClock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import {
  type AgentUpgrade,
  type AgentUpgradeStatus,
  agentUpgrade,
  agentUpgradeStatus,
} from '../../shared/messages/release.ts';
import type { Session } from '../../shared/mux/session.ts';
import type { SignedRelease } from '../../shared/releases/release.ts';
import { sleep } from '../../shared/sleep.ts';
import { enrollBy, newToken, type Server } from './mesh.ts';
import { type Cleanup, defer } from './tmp.ts';
import { waitFor } from './wait.ts';

/** Between two attempts to connect. */
const RETRY_MS = 100;

/** What it does with an offer: `held` waits for what the test says. */
export type Answer = 'done' | 'failed' | 'silent' | 'held';

export class UpgradingAgent {
  readonly name: string;
  readonly hostId: string;
  readonly #stateDir: string;
  readonly #httpsAgent = new https.Agent({ keepAlive: false, maxCachedSessions: 0 });
  #stop = new AbortController();
  #running: Promise<void> = Promise.resolve();
  #session: Session | undefined;
  /** Not answered yet. */
  #offer: SignedRelease | undefined;
  version = '0.1.0';
  answer: Answer = 'held';
  /** Sequences of the releases that it was offered, one that comes again after a cut each time. */
  readonly offers: number[] = [];

  /** Enrolls a host and connects its agent. */
  static async join(cleanup: Cleanup, server: Server, name: string, tags: string[] = []): Promise<UpgradingAgent> {
    const { token } = await newToken(server, { tags });
    const { hostId, stateDir } = await enrollBy(cleanup, server, name, token);
    const agent = new UpgradingAgent(name, hostId, stateDir);
    defer(cleanup, () => agent.disconnect());
    agent.connect();
    await waitFor(`${name} to be connected`, () => agent.#session !== undefined);
    return agent;
  }

  private constructor(name: string, hostId: string, stateDir: string) {
    this.name = name;
    this.hostId = hostId;
    this.#stateDir = stateDir;
  }

  /** Whether it was offered a release and has not answered. */
  get isAsked(): boolean {
    return this.#offer !== undefined;
  }

  connect(): void {
    this.#stop = new AbortController();
    this.#running = this.#run(this.#stop.signal);
  }

  async disconnect(): Promise<void> {
    this.#stop.abort(new FairleadError('SHUTDOWN', 'the agent is stopping'));
    this.#session?.destroy(new FairleadError('SHUTDOWN', 'the agent is stopping'));
    await this.#running;
  }

  /** Says how the release came out that it was offered; one that is done comes back as that version. */
  finish(how: 'done' | 'failed'): void {
    const release = this.#offer;
    if (release === undefined) throw new Error(`${this.name} was offered nothing`);
    this.#offer = undefined;
    if (how === 'failed') {
      this.#tell(release, { state: 'failed', code: 'RELEASE_INVALID', detail: 'it does not start here' });
      return;
    }
    for (const state of ['downloading', 'verifying', 'trying', 'restarting'] as const) this.#tell(release, { state });
    this.version = release.version;
    this.#session?.destroy(new FairleadError('SHUTDOWN', 'the agent restarts as another version'));
  }

  #tell({ sequence, version }: SignedRelease, status: Omit<AgentUpgradeStatus, 'sequence' | 'version'>): void {
    this.#session?.sendControl(agentUpgradeStatus, { sequence, version, ...status });
  }

  #take(release: SignedRelease): void {
    this.offers.push(release.sequence);
    this.#offer = release;
    if (this.answer === 'done' || this.answer === 'failed') this.finish(this.answer);
  }

  /** Connects again and again. */
  async #run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#serve(signal).catch(() => undefined); // the server may restart
      await sleep(RETRY_MS, systemClock, signal).catch(() => undefined); // it was stopped
    }
  }

  async #serve(signal: AbortSignal): Promise<void> {
    const { session, welcome } = await connect({
      ...{ identity: await loadIdentity(this.#stateDir), httpsAgent: this.#httpsAgent, clock: systemClock, signal },
      hello: {
        ...{ versions: [1], agentVersion: this.version, instanceId: randomUUID(), hostname: this.name },
        ...{ os: 'linux', arch: 'x64', docker: { reachable: false }, policy: { allow: [], deny: [] } },
        ...{ capabilities: [agentUpgrade.name], upgrade: { able: true, sequence: 0 } },
      },
      onStream: () => undefined,
      controls: new Map([[agentUpgrade.code, (value: unknown) => this.#take((value as AgentUpgrade).release)]]),
    });
    this.#session = session;
    try {
      if (welcome.upgrade !== undefined) this.#take(welcome.upgrade);
      await session.closed;
    } finally {
      this.#session = undefined;
    }
  }
}
