/** The launch itself: server, enrollment of this machine, agent, report; then it lasts until it is stopped or a child ends. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { ApiClient } from '../../server/cli/api-client.ts';
import { pointAgentAt, readAgentState, startAgain } from './agent-state.ts';
import { Child, type ChildExit, type ChildOptions, describeExit } from './child.ts';
import { adminClient, checkKnown, enrollmentToken, lookAt, waitForHost } from './first-host.ts';
import { LaunchError, type LaunchOptions, withHost } from './options.ts';
import { type Report, reportText } from './report.ts';
import { type Runtime, waitForRuntime } from './runtime-file.ts';

const SERVER = fileURLToPath(new URL('../../server/main.ts', import.meta.url));
const AGENT = fileURLToPath(new URL('../../agent/main.ts', import.meta.url));
/** Enrollment settings of the environment that are meant for other agents than this machine's. */
const NOT_FOR_CHILDREN = ['FAIRLEAD_TOKEN', 'FAIRLEAD_TOKEN_FILE', 'FAIRLEAD_CA_FILE', 'FAIRLEAD_CA_FINGERPRINT'];
const EXIT_USAGE = 2;
const EXIT_REVOKED = 3;

export interface LaunchIo {
  readonly out: Writable;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Fires when the launcher is told to stop. */
  readonly stop: AbortSignal;
}

/**
 * Runs everything until `io.stop` fires, then stops it in order and resolves.
 * @throws LaunchError when something cannot be started or a child ends by itself; everything is stopped then
 */
export async function launch(options: LaunchOptions, io: LaunchIo): Promise<void> {
  const launcher = new Launcher(options, io);
  try {
    await launcher.run();
  } finally {
    await launcher.close();
  }
}

/** Passes `--help` or `--version` on to the server. @returns its exit code */
export async function askServer(options: LaunchOptions, io: LaunchIo): Promise<number> {
  const { serverArgs } = options;
  if (!serverArgs.some((arg) => arg === '--version' || arg === '-V'))
    io.out.write('npm start takes the options of fairlead-server:\n\n');
  const child = new Child({
    name: 'fairlead-server',
    script: SERVER,
    args: serverArgs,
    env: io.env,
    output: 'inherit',
  });
  return (await child.exited).code ?? 1;
}

class Launcher {
  readonly #options: LaunchOptions;
  readonly #io: LaunchIo;
  readonly #env: Record<string, string | undefined>;
  readonly #children: Child[] = [];
  /** Fires when the launch is over, whatever the reason. */
  readonly #over = new AbortController();
  readonly #tokenFile: string;
  #api: ApiClient | undefined;

  constructor(options: LaunchOptions, io: LaunchIo) {
    this.#options = options;
    this.#io = io;
    this.#env = { ...io.env };
    for (const name of NOT_FOR_CHILDREN) delete this.#env[name];
    this.#tokenFile = join(options.dataDir, 'admin-token');
  }

  /** Resolves when told to stop. */
  async run(): Promise<void> {
    const { stop } = this.#io;
    const stopped = new Promise<void>((resolve) => {
      if (stop.aborted) resolve();
      stop.addEventListener('abort', () => resolve(), { once: true });
    });
    const work = this.#start();
    await Promise.race([stopped, work]);
  }

  /** Stops the agent, then the server. Idempotent. */
  async close(): Promise<void> {
    this.#over.abort();
    this.#api?.close();
    for (const child of this.#children.toReversed()) await child.stop();
  }

  /** Starts everything and lasts until a child ends. */
  async #start(): Promise<never> {
    const server = this.#spawn({ name: 'fairlead-server', script: SERVER, args: this.#options.serverArgs });
    const serverEnd = server.exited.then((exit) => this.#serverEnded(exit));
    const runtime = await Promise.race([this.#serverReady(server), serverEnd]);
    const hostId = await Promise.race([this.#enrolled(runtime), serverEnd]);
    const { agentDir, logLevel } = this.#options;
    const agent = this.#spawn({
      name: 'fairlead-agent',
      script: AGENT,
      args: ['run', '--state-dir', agentDir, '--log-level', logLevel],
    });
    const end = Promise.race([serverEnd, agent.exited.then((exit) => this.#agentEnded(exit))]);
    await Promise.race([this.#report(runtime, hostId), end]);
    return await end;
  }

  #spawn(options: Pick<ChildOptions, 'name' | 'script' | 'args' | 'input' | 'output'>): Child {
    this.#over.signal.throwIfAborted();
    const child = new Child({ ...options, env: this.#env });
    this.#children.push(child);
    return child;
  }

  #say(text: string): void {
    this.#io.out.write(`${text}\n`);
  }

  async #serverReady(server: Child): Promise<Runtime> {
    this.#say(
      existsSync(this.#tokenFile)
        ? 'Starting the server …'
        : 'Starting the server for the first time; it makes an RSA-4096 key for its CA, which takes some seconds …',
    );
    // A child without a pid could not be started; its end, which comes first in the race, says so.
    return await waitForRuntime(this.#options.dataDir, server.pid ?? -1, this.#over.signal);
  }

  /** Enrolls this machine unless it is. @returns its host id */
  async #enrolled(runtime: Runtime): Promise<string> {
    const { agentDir, localAgentHost, localApiHost } = this.#options;
    const server = withHost(runtime.apiUrl, localApiHost);
    this.#api = await adminClient(server, this.#tokenFile, this.#over.signal);
    const known = await readAgentState(agentDir);
    if (known !== undefined) await checkKnown(this.#api, known, { agentDir, caFingerprint: runtime.caFingerprint });
    else await this.#enroll(server);
    const state = known ?? (await readAgentState(agentDir));
    if (state === undefined) throw new LaunchError(`the agent left no identity in ${agentDir}`);
    // Whatever the server's public names and ports are by now, this agent dials the server beside it directly.
    await pointAgentAt(agentDir, { server, agentUrl: withHost(runtime.agentUrl, localAgentHost) });
    return state.hostId;
  }

  async #enroll(server: string): Promise<void> {
    const { agentDir, logLevel } = this.#options;
    if (this.#api === undefined) {
      throw new LaunchError(
        `this machine is not enrolled, and there is no valid admin token in ${this.#tokenFile} to do it with: ` +
          'npm start -- --reset-admin-token makes a new one',
      );
    }
    this.#say('Enrolling this machine as a host …');
    const enroll = this.#spawn({
      name: 'fairlead-agent enroll',
      script: AGENT,
      args: ['enroll', '--server', server, '--token', '-', '--state-dir', agentDir, '--log-level', logLevel],
      input: await enrollmentToken(this.#api, this.#over.signal),
      output: 'ignore',
    });
    const exit = await enroll.exited;
    if (exit.code !== 0) throw new LaunchError(describeExit(enroll.name, exit));
  }

  async #report(runtime: Runtime, hostId: string): Promise<void> {
    const { apiUrl, agentUrl, caFingerprint, version } = runtime;
    const common = { apiUrl, agentUrl, caFingerprint, version, tokenFile: this.#tokenFile };
    const report: Report =
      this.#api === undefined
        ? { ...common, host: undefined, problem: `${this.#tokenFile} holds no valid token: the hosts cannot be shown.` }
        : { ...common, host: await lookAt(this.#api, await waitForHost(this.#api, hostId, this.#over.signal)) };
    if (!this.#over.signal.aborted) this.#say(reportText(report));
  }

  #serverEnded(exit: ChildExit): never {
    throw new LaunchError(describeExit('fairlead-server', exit), {
      exitCode: exit.code === EXIT_USAGE ? EXIT_USAGE : 1,
    });
  }

  #agentEnded(exit: ChildExit): never {
    const what = describeExit('fairlead-agent', exit);
    const advice =
      exit.code === EXIT_REVOKED ? `: this machine's host was revoked; ${startAgain(this.#options.agentDir)}` : '';
    throw new LaunchError(`${what}${advice}`);
  }
}
