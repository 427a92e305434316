/** Changes of stacks on the real Engine by the real Compose: what becomes of them when somebody goes away meanwhile. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { DockerEngine } from '../../../../agent/docker/engine.ts';
import { runChild } from '../../../../agent/stacks/child.ts';
import { envFile } from '../../../../agent/stacks/env-file.ts';
import { Stacks } from '../../../../agent/stacks/stacks.ts';
import { systemClock } from '../../../../shared/clock.ts';
import { readYaml } from '../../../../shared/compose/yaml.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import { stackDeploy } from '../../../../shared/messages/stack.ts';
import { DOCKER_SOCKET, dockerApi, requireDocker, TEST_IMAGE, TEST_LABEL } from '../../../support/docker.ts';
import { defer, tempDir } from '../../../support/tmp.ts';

const SILENT = { info: () => undefined, warn: () => undefined };
const PATH = process.env['PATH'] ?? '';
const DOLLAR = '$';

async function fixture(t: TestContext) {
  await requireDocker();
  const stateDir = join(await tempDir(t, 'agent'), 'state');
  const policy = { allow: [], deny: [] };
  const docker = new DockerEngine({ socket: DOCKER_SOCKET, policy, clock: systemClock, log: SILENT });
  defer(t, () => docker.close());
  await docker.start();
  const stacks = new Stacks({ stateDir, path: PATH, docker, clock: systemClock, log: SILENT });
  const stack = `fl-test-${randomBytes(4).toString('hex')}`;
  defer(t, async () => {
    await stacks.close();
    await dockerApi('DELETE', `/containers/${stack}-one-1?force=1`);
    await dockerApi('DELETE', `/containers/${stack}-two-1?force=1`);
  });
  /** Begins a deployment, which goes on until the first service is healthy: as soon as it has /ok. */
  const begin = async (changeId: string) => {
    const leaving = new AbortController();
    const touched = Promise.withResolvers<void>();
    const progress = async ({ line }: { line: string }) => void (/one-1 +Started/.test(line) && touched.resolve());
    const done = stacks.change(
      stackDeploy,
      { stack, changeId, compose: COMPOSE, env: { TOKEN: 'hunter2' } },
      { ready: () => undefined, progress, aborted: leaving.signal },
    );
    done.catch(touched.reject);
    await touched.promise;
    return {
      done,
      leave: (code: 'CANCELLED' | 'STREAM_INTERRUPTED') => leaving.abort(new FairleadError(code, 'gone')),
    };
  };
  return { stateDir, stacks, stack, begin };
}

const COMPOSE = `services:
  one:
    image: ${TEST_IMAGE}
    command: [sleep, "1000"]
    network_mode: none
    labels: {${TEST_LABEL}: "1"}
    healthcheck: {test: [CMD, test, -e, /ok], interval: 1s, retries: 1000}
  two:
    image: ${TEST_IMAGE}
    command: [sleep, "1000"]
    network_mode: none
    labels: {${TEST_LABEL}: "1"}
    depends_on: {one: {condition: service_healthy}}
`;

/** The command lines of all processes that name `text`. */
async function processesOf(text: string): Promise<string[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const lines = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')));
  return lines.filter((line) => line.includes(text));
}

test('a deployment goes on when only the session is lost, and what became of it can be asked for', async (t) => {
  const { stateDir, stacks, stack, begin } = await fixture(t);
  const { done, leave } = await begin('c1');
  const [run = ''] = (await readdir(join(stateDir, 'compose'))).filter((name) => name.startsWith('run-'));
  const modes = await Promise.all(['', 'env', 'd.sock'].map((name) => stat(join(stateDir, 'compose', run, name))));
  assert.deepEqual(
    modes.slice(0, 2).map(({ mode }) => mode & 0o777),
    [0o700, 0o600],
  );
  assert.deepEqual(
    (await processesOf(stack)).filter((line) => line.includes('hunter2')),
    [],
  );
  leave('STREAM_INTERRUPTED');
  const second = stacks.change(stackDeploy, { stack, changeId: 'c2', compose: COMPOSE }, caller());
  await assert.rejects(second, { code: 'CONFLICT', message: /stack\.deploy of the stack .* is in progress here/ });
  assert.deepEqual(stacks.lastChange(stack), { id: 'c1', kind: 'stack.deploy', state: 'running' });
  const { body } = await dockerApi('POST', `/containers/${stack}-one-1/exec`, { Cmd: ['touch', '/ok'] });
  await dockerApi('POST', `/exec/${body.Id}/start`, { Detach: true });
  await done;
  assert.deepEqual(stacks.lastChange(stack), { id: 'c1', kind: 'stack.deploy', state: 'done' });
  assert.equal((await dockerApi('GET', `/containers/${stack}-two-1/json`)).body.State.Running, true);
  assert.deepEqual((await readdir(join(stateDir, 'compose'))).sort(), ['config', 'empty']);
});

function caller(aborted = new AbortController().signal) {
  return { ready: () => undefined, progress: async () => undefined, aborted };
}

test('Compose ends with who asked for it, and with the agent, and leaves no process and no file', async (t) => {
  const { stateDir, stacks, stack, begin } = await fixture(t);
  const first = await begin('c1');
  first.leave('CANCELLED');
  await assert.rejects(first.done, { code: 'CANCELLED' });
  assert.deepEqual(await processesOf(stack), []);
  assert.deepEqual(stacks.lastChange(stack), {
    id: 'c1',
    kind: 'stack.deploy',
    state: 'failed',
    code: 'CANCELLED',
    message: 'gone',
  });
  await dockerApi('DELETE', `/containers/${stack}-one-1?force=1`);
  const second = await begin('c2');
  const ended = assert.rejects(second.done, { code: 'SHUTDOWN' });
  await stacks.close();
  await ended;
  assert.deepEqual(
    [await processesOf(stack), (await readdir(join(stateDir, 'compose'))).sort()],
    [[], ['config', 'empty']],
  );
});

test('what is restored is what there was: nothing of a service that is not named, and nothing runs that did not', async (t) => {
  const { stacks, stack } = await fixture(t);
  const state = { one: { containers: 1, runs: false }, two: { containers: 2, runs: true } };
  defer(t, async () => void (await dockerApi('DELETE', `/containers/${stack}-two-2?force=1`)));
  const compose = `${COMPOSE}  three: {image: ${TEST_IMAGE}, network_mode: none}\n`;
  await stacks.change(stackDeploy, { stack, changeId: 'c1', compose, state }, caller());
  const filters = encodeURIComponent(JSON.stringify({ label: [`com.docker.compose.project=${stack}`] }));
  const { body } = await dockerApi('GET', `/containers/json?all=1&filters=${filters}`);
  assert.deepEqual(body.map(({ Names, State }: { Names: string[]; State: string }) => `${Names[0]} ${State}`).sort(), [
    `/${stack}-one-1 created`,
    `/${stack}-two-1 running`,
    `/${stack}-two-2 running`,
  ]);
  const wrong = { stack, changeId: 'c2', compose, state: { four: { containers: 1, runs: true } } };
  await assert.rejects(stacks.change(stackDeploy, wrong, caller()), { code: 'VALIDATION', message: /no service four/ });
});

test('what an agent that was killed has left of a run is removed, and no more', async (t) => {
  const { stateDir, stacks } = await fixture(t);
  await stacks.removeLeftovers();
  await mkdir(join(stateDir, 'compose', 'run-old'), { recursive: true });
  await mkdir(join(stateDir, 'compose', 'config'));
  await writeFile(join(stateDir, 'compose', 'run-old', 'env'), 'TOKEN="hunter2"');
  await stacks.removeLeftovers();
  assert.deepEqual(await readdir(join(stateDir, 'compose')), ['config']);
});

const VALUES = [
  ...['', ' lead', 'trail ', '\\', 'a\\\\b', "it's", "'", '"', `'"`, `${DOLLAR}HOME`, `${DOLLAR}{HOME}`, `${DOLLAR}{`],
  ...[DOLLAR, 'a #b', '#', 'x\ny', 'a=b', '`x`', `${DOLLAR}(x)`, '\\n', 'é€', `${DOLLAR}{A:-b}`, 'a\tb', '{}', "''"],
  `it's ${DOLLAR}{HOME} "q" \\ end`,
];

test('both sorts of Compose read each value as it was given', async (t) => {
  const dir = await tempDir(t, 'env');
  for (const [program, args, isFirst] of [
    ['docker', ['compose'], false],
    ['docker-compose', [], true],
  ] as const) {
    const values = VALUES.filter((value) => !isFirst || !value.endsWith('\\'));
    const env = Object.fromEntries(values.map((value, index) => [`V${index}`, value]));
    const lines = values.map((_, index) => `      V${index}: "${DOLLAR}{V${index}}"\n`).join('');
    await writeFile(join(dir, 'env'), envFile(env, { isFirst }));
    const { output } = await runChild({
      ...{ program, args: [...args, '-p', 'x', '--env-file', join(dir, 'env'), '-f', '-', 'config'], cwd: dir },
      ...{ env: { PATH, HOME: '/nowhere' }, input: `services:\n  one:\n    image: x\n    environment:\n${lines}` },
      ...{ onLine: () => undefined, maxOutputChars: 100_000, signal: new AbortController().signal, clock: systemClock },
    });
    const read = readYaml(output, 'it').value as { services: { one: { environment: Record<string, string> } } };
    const found = Object.entries(read.services.one.environment).map(([name, value]) => [
      name,
      (value ?? '').replaceAll('$$', DOLLAR),
    ]);
    assert.deepEqual(Object.fromEntries(found), env, program);
  }
  assert.throws(() => envFile({ A: 'a\\' }, { isFirst: true }), { code: 'UNSUPPORTED', message: /the variable A/ });
});
