/** Clients of the Docker proxy that mean harm: to the server, to other clients, or to what the audit log says. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { waitFor } from '../../../support/wait.ts';
import { DOCKER, dockerFixture } from './docker-fixture.ts';
import { as } from './fakes.ts';

const JSON_TYPE = { 'content-type': 'application/json' };

test('an upgrade behind a request that is not answered yet ends that connection, and nothing else', async (t) => {
  const it = await dockerFixture(t);
  const upgrade = ['Host: x', 'Connection: Upgrade', 'Upgrade: tcp', '', ''];
  for (const path of ['/session', `${DOCKER}/containers/web/attach`]) {
    const raw = it.raw('GET /healthz HTTP/1.1', 'Host: x', '', `POST ${path} HTTP/1.1`, ...upgrade);
    assert.doesNotMatch(await raw.ended(), /HTTP\/1\.1 101/);
  }
  assert.equal((await it.send('GET', `${DOCKER}/containers/json`)).status, 200);
});

test('an upgrade is for the calls that Docker has one for; any other call is as good without', async (t) => {
  const it = await dockerFixture(t);
  for (const [method, path] of [
    ['GET', '/events'],
    ['PUT', '/containers/web/archive'],
    ['POST', '/containers/web/stop'],
  ] as const) {
    const lines = ['Host: x', 'Authorization: Bearer operator', 'Connection: Upgrade, close', 'Upgrade: h2c', '', ''];
    const answer = await it.raw(`${method} ${DOCKER}${path} HTTP/1.1`, ...lines).ended();
    assert.match(answer, /^HTTP\/1\.1 200 /);
    assert.equal((await it.asked()).kind, 'docker.request', path);
  }
});

test('a form is refused: Docker would take what it says before what the query says', async (t) => {
  const it = await dockerFixture(t);
  for (const type of ['application/x-www-form-urlencoded', ' Application/X-WWW-Form-Urlencoded; charset=utf-8']) {
    const headers = { 'content-type': type };
    const path = `${DOCKER}/images/create?fromImage=alpine`;
    const { status, body } = await it.send('POST', path, { headers, body: 'fromImage=evil' });
    assert.deepEqual([status, body.code], [400, 'VALIDATION']);
  }
  assert.deepEqual(it.host.asked, []);
});

test('what ends in resize is written down, but for the sizes of terminals', async (t) => {
  const it = await dockerFixture(t);
  for (const [method, path] of [
    ['DELETE', '/containers/resize'],
    ['DELETE', '/volumes/resize'],
    ['DELETE', '/networks/resize'],
    ['DELETE', '/images/team/resize'],
  ] as const) {
    const before = it.rows().length;
    await it.send(method, `${DOCKER}${path}`);
    assert.equal(it.rows().length, before + 1, path);
  }
});

test('nothing in the body of an exec crowds its command out of the row', async (t) => {
  const it = await dockerFixture(t);
  const many = Array.from({ length: 64 }, () => Array.from({ length: 64 }, () => 'x'.repeat(40)));
  for (const more of [{ Image: many }, { Entrypoint: { a: many } }, { User: many }]) {
    const body = JSON.stringify({ Cmd: ['evil'], ...more });
    await it.send('POST', `${DOCKER}/containers/web/exec`, { body, headers: JSON_TYPE });
    assert.deepEqual(it.rows().at(-1)?.detail?.['cmd'], ['evil']);
  }
});

test('one caller leaves room for others at a host that does not answer', async (t) => {
  const it = await dockerFixture(t, { 'docker.request': () => new Promise(() => undefined) });
  const ask = (token: 'viewer' | 'operator') => it.begin('GET', `${DOCKER}/containers/json`, as(token)).end();
  for (let i = 0; i < 60; i++) ask('viewer');
  await waitFor('as many as one caller may have', () => it.host.asked.length === 24);
  for (let i = 0; i < 60; i++) ask('operator');
  await waitFor('as many as one host takes', () => it.host.asked.length === 48);
});

test('a body that tells is not waited for as long as it likes, nor by a caller who has gone', async (t) => {
  const requestTimes = { headersMs: 300, requestMs: 300, checkMs: 50 };
  const it = await dockerFixture(t, {}, { overrides: { requestTimes } as never });
  const raw = it.raw(
    `POST ${DOCKER}/containers/create HTTP/1.1`,
    ...[
      'Host: x',
      'Authorization: Bearer operator',
      'Content-Type: application/json',
      'Content-Length: 100000',
      '',
      '{',
    ],
  );
  assert.match(await raw.ended(), /^HTTP\/1\.1 408 /);
  assert.deepEqual(it.host.asked, []);
});

test('the rest of a request that was refused is read, so that the refusal arrives', async (t) => {
  const it = await dockerFixture(t);
  const request = it.begin('POST', `${DOCKER}/build`, { ...as('viewer'), 'transfer-encoding': 'chunked' });
  const answered = new Promise<number | undefined>((resolve) => request.once('response', (r) => resolve(r.statusCode)));
  const writing = setInterval(() => request.write(Buffer.alloc(64 * 1024)), 1);
  t.after(() => clearInterval(writing));
  request.on('error', () => undefined);
  assert.equal(await answered, 403);
});
