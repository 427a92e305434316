/** One minor release of skew, both ways: the previous build's agent with this server, and this agent with the previous server. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { VERSION } from '../../shared/version.ts';
import { runCliHere } from '../support/cli.ts';
import { requireDocker, type TestContainer, testContainer } from '../support/docker.ts';
import { ExecClient } from '../support/exec-client.ts';
import { type Launched, launch, run } from '../support/launcher.ts';
import { newToken, type Server, type ServerOptions, startServer, waitForState } from '../support/mesh.ts';
import { PREVIOUS, previousBuild } from '../support/previous-build.ts';
import { type Cleanup, fileCleanup, tempDir } from '../support/tmp.ts';
import { waitFor } from '../support/wait.ts';

/** Short, so that a certificate is renewed within the test; long enough for programs to start on a busy machine. */
const LIFE_SECONDS = 12;
const ARGS = ['--agent-cert-life', `${LIFE_SECONDS}s`, '--recover-within', '1h'];
const START_MS = 30_000;
const GREETING = 'what the container has said';

const shared = fileCleanup();
let previous: string;

before(async () => {
  [previous] = await Promise.all([previousBuild(shared), requireDocker()]);
});

/** Which builds meet; undefined: this one. */
interface Pair {
  readonly serverBuild: string | undefined;
  readonly agentBuild: string | undefined;
}

/** A host of its own whose two ends are of different builds. */
class Skewed {
  readonly #cleanup: Cleanup;
  readonly #pair: Pair;
  readonly #stateDir: string;
  server: Server;
  agent: Launched;

  static async start(t: Cleanup, pair: Pair): Promise<Skewed> {
    const server = await startServer(t, { args: ARGS, build: pair.serverBuild });
    const stateDir = join(await tempDir(t, 'agent'), 'state');
    const { token } = await newToken(server);
    const args = ['enroll', '--server', server.runtime.apiUrl, '--token', '-', '--name', 'skewed'];
    const options = { input: token, build: pair.agentBuild };
    const enrolled = await run(t, 'agent', [...args, '--state-dir', stateDir], options);
    assert.equal(enrolled.exit.code, 0, enrolled.transcript());
    return new Skewed(t, pair, server, stateDir);
  }

  private constructor(cleanup: Cleanup, pair: Pair, server: Server, stateDir: string) {
    this.#cleanup = cleanup;
    this.#pair = pair;
    this.#stateDir = stateDir;
    this.server = server;
    this.agent = this.#startAgent();
  }

  #startAgent(): Launched {
    return launch(this.#cleanup, 'agent', ['run', '--state-dir', this.#stateDir], { build: this.#pair.agentBuild });
  }

  async restartServer(): Promise<void> {
    assert.deepEqual(await this.server.process.stop(), { code: 0, signal: null });
    const { apiUrl, agentUrl } = this.server.runtime;
    const ports = { apiPort: Number(new URL(apiUrl).port), agentPort: Number(new URL(agentUrl).port) };
    const options: ServerOptions = {
      ...ports,
      dataDir: this.server.dataDir,
      args: ARGS,
      build: this.#pair.serverBuild,
    };
    this.server = await startServer(this.#cleanup, options);
  }

  async restartAgent(): Promise<void> {
    assert.deepEqual(await this.agent.stop(), { code: 0, signal: null });
    await waitForState(this.server, 'skewed', 'offline');
    this.agent = this.#startAgent();
  }

  async host() {
    return (await this.server.api.get('/api/v1/hosts/skewed')).body;
  }

  async online(): Promise<void> {
    await waitForState(this.server, 'skewed', 'online', START_MS);
  }

  /** Lists, reads a log and runs a command, by this build's CLI where it has one. */
  async use({ id, name }: TestContainer): Promise<void> {
    const login = [
      '--server',
      this.server.runtime.apiUrl,
      '--api-token-file',
      join(this.server.dataDir, 'admin-token'),
    ];
    const listed = await runCliHere([...login, 'ps', 'skewed']);
    assert.equal(listed.exit.code, 0, listed.transcript());
    assert.ok(listed.stdout.includes(name), listed.transcript());
    const logged = await runCliHere([...login, 'logs', 'skewed', name]);
    assert.equal(logged.stdout, `${GREETING}\n`, logged.transcript());
    const exec = await ExecClient.open(this.server.api, 'skewed', id, {
      cmd: ['sh', '-c', 'read line; echo "<$line>"; exit 7'],
    });
    exec.type('typed\n');
    assert.equal(await exec.end(), 7);
    assert.equal(exec.output, '<typed>\n');
  }

  /** Waits until another certificate is in use than `serial`. */
  async renewed(serial: string): Promise<void> {
    const look = async () => (await this.host()).certificate.serial !== serial;
    await waitFor('another certificate', look, {
      timeoutMs: LIFE_SECONDS * 1000,
      everyMs: 100,
      context: () => this.agent.transcript(),
    });
  }
}

async function worksTogether(t: Cleanup, pair: Pair, versions: { server: string; agent: string }): Promise<void> {
  const container = await testContainer(t, {
    cmd: ['sh', '-c', `echo ${GREETING}; trap "exit 0" TERM; sleep 100000 & wait`],
  });
  const skewed = await Skewed.start(t, pair);
  const { serial } = (await skewed.host()).certificate;
  await skewed.online();
  assert.equal(skewed.server.runtime.version, versions.server);
  assert.equal((await skewed.host()).agentVersion, versions.agent);
  await skewed.use(container);
  await skewed.restartServer();
  await skewed.online();
  await skewed.use(container);
  await skewed.renewed(serial);
  await skewed.restartAgent();
  await skewed.online();
  await skewed.use(container);
  assert.deepEqual(await skewed.agent.stop(), { code: 0, signal: null });
}

describe('one minor release of skew', { concurrency: true }, () => {
  it('this server serves the agent of the previous build', async (t) => {
    const versions = { server: VERSION, agent: PREVIOUS.version };
    await worksTogether(t, { serverBuild: undefined, agentBuild: previous }, versions);
  });

  it('this agent serves the server of the previous build', async (t) => {
    const versions = { server: PREVIOUS.version, agent: VERSION };
    await worksTogether(t, { serverBuild: previous, agentBuild: undefined }, versions);
  });
});
