/** Hawser's Compose endpoint: what its requests come to here, and one stack on the real Engine by the real Compose. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { readComposeRequest, runCompose } from '../../../../agent/hawser/compose.ts';
import { Stacks } from '../../../../agent/stacks/stacks.ts';
import { systemClock } from '../../../../shared/clock.ts';
import { FairleadError, isFairleadError } from '../../../../shared/errors.ts';
import { DOCKER_SOCKET, dockerApi, requireDocker, TEST_IMAGE } from '../../../support/docker.ts';
import { defer, tempDir } from '../../../support/tmp.ts';
import { contextAt, type Fixture, fixture } from './fixture.ts';

const SHOP = { projectName: 'shop', composeFile: 'services: {}' };
const caller = () => ({ aborted: new AbortController().signal });

async function faked(t: TestContext, options: { allow?: string[] } = {}) {
  const made = await fixture(t, (_request, response) => response.end('{}'), options);
  return { ...made, run: (body: object) => run(made, body) };
}

async function run({ context }: Fixture, body: object) {
  return await runCompose(readComposeRequest(JSON.stringify(body)), context, caller());
}

test('each operation is a change or a look of its own', async (t) => {
  const { run, stacks } = await faked(t);
  for (const operation of ['up', 'down', 'pull', 'restart', 'stop', 'start']) {
    assert.equal((await run({ ...SHOP, operation, services: ['web', 'web'] })).success, true, operation);
  }
  const kinds = stacks.changes.map(({ kind }) => kind);
  const names = ['deploy', 'remove', 'pull', 'restart', 'stop', 'start'];
  assert.deepEqual(
    kinds,
    names.map((name) => `stack.${name}`),
  );
  for (const { params } of stacks.changes) assert.deepEqual([params.stack, params.only], ['shop', ['web']]);
  assert.deepEqual(await run({ ...SHOP, operation: 'ps' }), {
    ...{ success: true, output: 'what compose prints\n', exitCode: 0 },
  });
  await run({ ...SHOP, operation: 'logs', options: { tail: '5' } });
  await run({ ...SHOP, operation: 'logs', options: null, services: null, envVars: null });
  const looks = stacks.looks as { kind: string; what: string; tail?: number }[];
  assert.deepEqual(
    looks.map(({ kind, what, tail }) => [kind, what, tail]),
    [
      ['stack.status', 'ps', undefined],
      ['stack.logs', 'logs', 5],
      ['stack.logs', 'logs', 100],
    ],
  );
});

test('what newer servers say counts, as far as it can be done', async (t) => {
  const { run, stacks } = await faked(t);
  const content = Buffer.from('services: {a: {}}').toString('base64');
  const reply = await run({
    ...{ operation: 'up', projectName: 'shop', serviceName: 'web', forceRecreate: true, pullPolicy: 'always' },
    files: { 'docker-compose.yml': `base64:${content}`, '.env': 'A=1\nB="two words"\n', 'README.md': 'x' },
    envVars: { A: 'wins' },
    registries: [{ url: 'registry.example', username: 'ann', password: 'the-password' }],
  });
  assert.equal(reply.success, true, String(reply.error));
  const [{ params } = assert.fail('nothing was changed')] = stacks.changes;
  const { compose, env, only, noDeps, recreate, pull, logins } = params;
  assert.deepEqual(
    { compose, env, only, noDeps, recreate, pull, logins },
    {
      ...{ compose: 'services: {a: {}}', env: { A: 'wins', B: 'two words' }, only: ['web'] },
      ...{ noDeps: true, recreate: true, pull: true },
      logins: [{ registry: 'registry.example', user: 'ann', password: 'the-password' }],
    },
  );
  await run({ operation: 'down', projectName: 'shop', removeVolumes: true });
  assert.equal(stacks.changes[1]?.params.volumes, true);
});

test('what cannot be done, or would be an option of Compose, is refused, and says why', async (t) => {
  const { run, stacks } = await faked(t);
  const cases: [object, RegExp][] = [
    [{ services: ['--help'] }, /services must be names/],
    [{ projectName: '../x' }, /projectName/],
    [{ projectName: '-p' }, /projectName/],
    [{ build: true }, /builds no images/],
    [{ composeFileNames: ['a.yml', 'b.yml'] }, /one Compose file/],
    [{ files: { '.env': 'A=$B' } }, /variable A/],
    [{ envVars: { 'A\nCOMPOSE_FILE': 'x' } }, /envVars/],
    [{ operation: 'logs', options: { tail: '-1' } }, /options\.tail/],
  ];
  for (const [more, text] of cases) {
    const { success, error = '', exitCode } = await run({ ...SHOP, operation: 'up', ...more });
    assert.deepEqual([success, exitCode], [false, 1], JSON.stringify(more));
    assert.match(error, text);
  }
  assert.deepEqual([stacks.changes, stacks.looks], [[], []]);
  for (const text of ['', '[]', '"a string"', '{"operation":"up"}', '{"operation":7,"projectName":"x"}']) {
    assert.throws(
      () => readComposeRequest(text),
      (error) => isFairleadError(error, 'VALIDATION'),
      text,
    );
  }
  stacks.failure = new FairleadError('TIMEOUT', 'Compose was not done within 1800 s, and was ended');
  assert.equal((await run({ ...SHOP, operation: 'up' })).exitCode, -1);
});

test("the host's policy holds for each operation", async (t) => {
  const { run, stacks } = await faked(t, { allow: ['read-only', 'stack.restart'] });
  for (const operation of ['up', 'down', 'stop']) {
    assert.match((await run({ ...SHOP, operation })).error ?? '', /^DENIED_BY_HOST: /, operation);
  }
  for (const operation of ['restart', 'ps', 'logs']) assert.equal((await run({ ...SHOP, operation })).success, true);
  assert.equal(stacks.changes.length, 1);
});

test('a stack on the real Engine goes up, is looked at, and down, by the real Compose', async (t) => {
  await requireDocker();
  const made = await contextAt(t, DOCKER_SOCKET);
  const { docker, log } = made.context;
  const stateDir = join(await tempDir(t, 'agent'), 'state');
  const stacks = new Stacks({ stateDir, path: process.env['PATH'] ?? '', docker, clock: systemClock, log });
  const projectName = `fl-hawser-${randomBytes(4).toString('hex')}`;
  defer(t, async () => {
    await stacks.close();
    await dockerApi('DELETE', `/containers/${projectName}-one?force=1`);
  });
  const composeFile = `services:
  one:
    image: ${TEST_IMAGE}
    container_name: ${projectName}-one
    network_mode: none
    stop_signal: SIGKILL
    command: [sh, -c, "echo $\{GREETING}; sleep 1000"]
`;
  const ask = (operation: string, more: object = {}) =>
    run({ ...made, context: { ...made.context, stacks } }, { operation, projectName, composeFile, ...more });
  const registries = [{ url: 'registry.example', username: 'ann', password: 'the-password' }];
  const up = await ask('up', { envVars: { GREETING: 'hello' }, registries });
  assert.equal(up.success, true, String(up.error));
  assert.match(up.output, /Started/);
  const ps = await ask('ps');
  assert.equal(JSON.parse(ps.output.split('\n')[0] ?? '').Name, `${projectName}-one`, JSON.stringify(ps));
  const logs = await ask('logs', { options: { tail: '5' } });
  assert.match(logs.output, /\| hello\n/);
  const down = await ask('down');
  assert.equal(down.success, true, String(down.error));
  assert.equal((await dockerApi('GET', `/containers/${projectName}-one/json`)).status, 404);
});
