/** `image pull` with credentials of a registry, and `info`: what is asked, and what is shown. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { tempDir } from '../../../support/tmp.ts';
import { fakeApi, type Identity, makeIdentity, problem, runAgainst } from './fixtures.ts';

const PULL = '/api/v1/hosts/nas/images/pull';
const INFO = '/api/v1/hosts/nas/info';
let identity: Identity;

before(async () => {
  identity = await makeIdentity();
});

function lines(response: ServerResponse, ...records: object[]): void {
  response.writeHead(200, { 'content-type': 'application/x-ndjson' });
  response.end(records.map((record) => `${JSON.stringify(record)}\n`).join(''));
}

test('the credentials of a registry go to it alone, and what is pulled is told', async (t) => {
  const server = await fakeApi(t, identity);
  const auths: unknown[] = [];
  server.on(`POST ${PULL}`, (_seen, response) => {
    const auth = response.req.headers['x-registry-auth'];
    auths.push(auth === undefined ? undefined : JSON.parse(Buffer.from(String(auth), 'base64url').toString('utf8')));
    const moving = { status: 'Downloading', id: 'l1', progressDetail: { current: 1, total: 2 } };
    lines(response, { status: 'Pulling fs layer', id: 'l1' }, moving, { status: 'Done' });
  });
  const file = join(await tempDir(t, 'pull'), 'password');
  await writeFile(file, 'päss word\n');
  const login = ['--username', 'ann', '--password-file', file];
  const own = await runAgainst(server, ['image', 'pull', 'nas', 'own.example:5000/app:1', ...login]);
  assert.deepEqual([own.code, own.out, own.err], [0, 'l1: Pulling fs layer\nDone\n', '']);
  assert.deepEqual(server.requests.at(-1)?.body, { reference: 'own.example:5000/app:1' });
  await runAgainst(server, ['image', 'pull', 'nas', 'localhost/app', ...login, '--platform', 'linux/arm64']);
  assert.deepEqual(server.requests.at(-1)?.body, { reference: 'localhost/app', platform: 'linux/arm64' });
  const json = await runAgainst(server, ['image', 'pull', 'nas', 'app', '--json']);
  assert.equal(
    json.out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line)).length,
    3,
  );
  const common = { username: 'ann', password: 'päss word' };
  assert.deepEqual(auths, [
    { ...common, serveraddress: 'own.example:5000' },
    { ...common, serveraddress: 'localhost' },
    undefined,
  ]);
});

test('a user without a password, and a password that is none, ask nothing', async (t) => {
  const server = await fakeApi(t, identity);
  const file = join(await tempDir(t, 'pull'), 'password');
  await writeFile(file, '\n');
  for (const [args, why] of [
    [['--username', 'ann'], /belong together/],
    [['--password-file', file], /belong together/],
    [['--username', 'ann', '--password-file', file], /no password in/],
    [['--username', 'ann', '--password-file', `${file}-none`], /cannot read the password file/],
  ] as const) {
    const { code, err } = await runAgainst(server, ['image', 'pull', 'nas', 'app', ...args]);
    assert.notEqual(code, 0);
    assert.match(err, why);
  }
  assert.ok(!server.requests.some(({ method }) => method === 'POST'));
});

test('info shows a host and its Docker, and why there is none', async (t) => {
  const server = await fakeApi(t, identity);
  const info = {
    ...{ hostname: 'nas.lan', os: 'linux', arch: 'arm64', kernel: '6.1', cpus: 4, memoryBytes: 2 ** 30 },
    ...{ uptimeSeconds: 7200, agentVersion: '1.2.3', docker: { reachable: true, version: '27.0' } },
    dockerInfo: { Containers: 0, Images: 5 },
  };
  server.on(`GET ${INFO}`, () => info);
  const { code, out } = await runAgainst(server, ['info', 'nas']);
  assert.equal(code, 0, out);
  for (const line of [/^OS: +linux\/arm64$/m, /^Docker: +27\.0$/m, /^Containers: +0$/m, /^Images: +5$/m, /^Up: +2/m]) {
    assert.match(out, line);
  }
  assert.deepEqual(JSON.parse((await runAgainst(server, ['info', 'nas', '--json'])).out), info);
  const docker = { reachable: false, reason: 'no socket' };
  server.on(`GET ${INFO}`, () => ({ ...info, docker, dockerInfo: undefined, uptimeSeconds: undefined }));
  const without = (await runAgainst(server, ['info', 'nas'])).out;
  assert.match(without, /^Docker: +unreachable$/m);
  assert.match(without, /^Docker says: +no socket$/m);
  assert.doesNotMatch(without, /^(Up|Images|Containers):/m);
  server.on(`GET ${INFO}`, (_seen, response) => problem(response, 503, 'HOST_OFFLINE', 'host nas is not connected'));
  const offline = await runAgainst(server, ['info', 'nas']);
  assert.equal(offline.out, '');
  assert.match(offline.err, /nas is not connected/);
});
