/** Login by password, over real TLS: what a password costs to try, lockout, the users, and how sessions end. */
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { fileCleanup } from '../../../support/tmp.ts';
import { waitFor, within } from '../../../support/wait.ts';
import { aHost, HOST_IDS } from '../store/fixture.ts';
import { ADMIN, from, newUser, PASSWORD, SESSION, type Served, serveApi } from './served-api.ts';

const MINUTE_MS = 60_000;
const shared = fileCleanup();
let served: Served;

before(async () => {
  served = await serveApi(shared, { trustProxy: true });
  await served.users.create({ name: 'Ann', role: 'admin', password: PASSWORD }, ADMIN);
});

test('logout ends the session and its streams within a second', async () => {
  const mine = await served.login('ann', PASSWORD, from());
  const other = await served.login('ann', PASSWORD, from());
  const headers = { cookie: mine.cookie };
  const log = await served.follow({ headers });
  const untouched = await served.follow({ headers: { cookie: other.cookie } });
  const { socket } = await served.upgrade({ ...headers, origin: served.url });
  const closed = new Promise((resolve) => socket.once('close', resolve));
  assert.equal((await served.call('/api/v1/logout', { method: 'POST', headers })).status, 403);
  const out = await served.call('/api/v1/logout', {
    method: 'POST',
    headers: { ...headers, 'x-csrf-token': mine.csrf },
  });
  assert.equal(out.status, 204);
  assert.match(out.headers['set-cookie']?.[0] ?? '', /^__Host-fairlead=; .*Secure.*; Max-Age=0$/);
  assert.equal(await within(1_000, 'the end of the log', log.ended), 'ECONNRESET');
  await within(1_000, 'the end of the exec', closed);
  const refused = await served.call(SESSION, { headers });
  assert.equal(refused.status, 401);
  assert.match(refused.headers['set-cookie']?.[0] ?? '', /Max-Age=0$/);
  assert.equal(await Promise.race([untouched.ended, Promise.resolve('open')]), 'open');
});

test('a changed password and a removed user end sessions and streams within a second', async () => {
  for (const how of ['password', 'remove'] as const) {
    const name = await newUser(served);
    const { cookie } = await served.login(name, PASSWORD, from());
    const log = await served.follow({ headers: { cookie } });
    const path = `/api/v1/users/${name.toUpperCase()}`;
    const answer = await (how === 'remove'
      ? served.call(path, { method: 'DELETE', token: served.token })
      : served.call(`${path}/password`, {
          method: 'PUT',
          body: { password: 'another long one' },
          token: served.token,
        }));
    assert.equal(answer.status, 204, answer.text);
    assert.equal(await within(1_000, 'the end of the log', log.ended), 'ECONNRESET');
    assert.equal((await served.call(SESSION, { headers: { cookie } })).status, 401);
    assert.equal((await served.login(name, PASSWORD, from())).status, 401);
    assert.equal((await served.login(name, 'another long one', from())).status, how === 'remove' ? 401 : 200);
  }
});

test('a user who goes while the password is looked at gets no session', async (t) => {
  const mine = await serveApi(t);
  const name = await newUser(mine);
  await newUser(mine);
  const made = mine.derived.length;
  const gate = Promise.withResolvers<void>();
  mine.gate.until = gate.promise;
  const login = mine.login(name, PASSWORD);
  await waitFor('the hash', () => mine.derived.length > made);
  await mine.users.remove(name, ADMIN);
  gate.resolve();
  const answer = await login;
  assert.equal(answer.status, 401);
  assert.equal(answer.headers['set-cookie'], undefined);
});

test('a session ends after 30 minutes without a request, and after 12 hours whatever happens', async (t) => {
  const mine = await serveApi(t);
  const name = await newUser(mine);
  const idle = await mine.login(name, PASSWORD);
  const log = await mine.follow({ headers: { cookie: idle.cookie } });
  mine.clock.advance(29 * MINUTE_MS);
  assert.equal((await mine.call(SESSION, { headers: { cookie: idle.cookie } })).status, 200);
  mine.clock.advance(29 * MINUTE_MS);
  assert.equal((await mine.call(SESSION, { headers: { cookie: idle.cookie } })).status, 200);
  mine.clock.advance(30 * MINUTE_MS);
  assert.equal(await within(1_000, 'the end of the log', log.ended), 'ECONNRESET');
  assert.equal((await mine.call(SESSION, { headers: { cookie: idle.cookie } })).status, 401);
  const busy = await mine.login(name, PASSWORD);
  for (let minutes = 0; minutes < 12 * 60; minutes += 20) {
    assert.equal((await mine.call(SESSION, { headers: { cookie: busy.cookie } })).status, 200, `after ${minutes} min`);
    mine.clock.advance(20 * MINUTE_MS);
  }
  assert.equal((await mine.call(SESSION, { headers: { cookie: busy.cookie } })).status, 401);
});

test('an unknown user costs the same work and gets the same answer as a wrong password', async () => {
  const name = await newUser(served);
  const look = async (user: string) => {
    const made = served.derived.length;
    const answer = await served.login(user, 'a wrong password', from());
    const work = served.derived.slice(made).map(([, salt, parameters, bytes]) => [salt.length, parameters, bytes]);
    const { requestId: _, ...body } = answer.body;
    return { status: answer.status, body, headers: Object.keys(answer.headers).sort(), work };
  };
  const wrong = await look(name);
  assert.equal(wrong.status, 401);
  assert.deepEqual(wrong.work, [[16, { memoryKib: 65_536, passes: 3, lanes: 1 }, 32]]);
  assert.deepEqual(await look('nobody-of-this-name'), wrong);
});

test('who fails again and again waits longer each time, and is not looked at meanwhile; others are', async () => {
  const name = await newUser(served);
  const here = from();
  for (let tries = 0; tries < 6; tries++) assert.equal((await served.login(name, 'wrong', here)).status, 401);
  const made = served.derived.length;
  const waits = async () => {
    const answer = await served.login(name, PASSWORD, here);
    assert.deepEqual([answer.status, answer.body.code], [429, 'RATE_LIMITED']);
    return Number(answer.headers['retry-after']);
  };
  assert.equal(await waits(), 1);
  assert.equal(served.derived.length, made, 'a hash was made for somebody who must wait');
  for (const expected of [2, 4, 8]) {
    served.clock.advance(60_000);
    assert.equal((await served.login(name, 'wrong', here)).status, 401);
    assert.equal(await waits(), expected);
  }
  assert.equal((await served.login(name, PASSWORD, from())).status, 200, 'the user is kept out elsewhere');
  assert.equal((await served.login(await newUser(served), PASSWORD, here)).status, 200, 'others are kept out here');
  served.clock.advance(8_000);
  assert.equal((await served.login(name, PASSWORD, here)).status, 200);
  assert.equal((await served.login(name, 'wrong', here)).status, 401, 'a success forgives');
  const lockouts = (await served.auditRows()).filter(({ action }) => action === 'login.lockout');
  assert.ok(lockouts.some(({ target, result }) => target === name && result === 'refused'));
});

test('many tries at once are as many tries, and many users from one address are one stranger', async () => {
  const name = await newUser(served);
  const here = from();
  const answers = await Promise.all(Array.from({ length: 12 }, () => served.login(name, 'wrong', here)));
  assert.equal(answers.filter(({ status }) => status === 401).length, 6);
  assert.equal(answers.filter(({ status }) => status === 429).length, 6);
  const there = '2001:db8:1:2';
  const spray = async (index: number) =>
    (await served.login(`guess-${index}`, 'wrong', from(`${there}::${(index + 1).toString(16)}`))).status;
  const statuses: number[] = [];
  for (let index = 0; index < 22; index++) statuses.push(await spray(index));
  assert.deepEqual([statuses.slice(0, 21).every((status) => status === 401), statuses[21]], [true, 429]);
  assert.equal((await served.login('guess-1', 'wrong', from('2001:db8:1:3::1'))).status, 401, 'another network');
});

test('passwords stand nowhere: not in the store, the log or the audit log', async (t) => {
  const mine = await serveApi(t);
  const secret = 'Sesam-oeffne-dich-4711';
  await mine.users.create({ name: 'eve', role: 'viewer', password: secret }, ADMIN);
  const { cookie } = await mine.login('eve', secret);
  await mine.login('eve', `${secret}-wrong`);
  await mine.login(secret, 'typed into the wrong field');
  await mine.call('/api/v1/users', {
    method: 'POST',
    body: { name: 'eve', role: 'x', password: secret },
    token: mine.token,
  });
  const short = { name: 'x', role: 'viewer', password: secret.slice(0, 5) };
  const refused = await mine.call('/api/v1/users', { method: 'POST', body: short, token: mine.token });
  assert.deepEqual([refused.status, refused.text.includes(short.password)], [400, false]);
  const rows = JSON.stringify(await mine.auditRows());
  assert.match(rows, /"login".*"refused"/);
  const texts = [rows, mine.logged.join('')];
  const directory = join(mine.dataDir, 'data');
  for (const file of await readdir(directory)) texts.push((await readFile(join(directory, file))).toString('latin1'));
  for (const text of texts) {
    assert.ok(!text.includes('wrong field') && !text.includes(secret), 'a password');
    assert.ok(!text.includes(cookie.split('=')[1] ?? '-'), 'the secret of a session');
  }
});

test('login is off until there is a user, and says so before any work', async (t) => {
  const mine = await serveApi(t);
  const answer = await mine.login('admin', PASSWORD);
  assert.deepEqual([answer.status, answer.body.code, mine.derived.length], [404, 'NOT_FOUND', 0]);
  assert.match(answer.body.detail, /off/);
  await newUser(mine);
  assert.equal((await mine.login('admin', PASSWORD)).status, 401);
});

test('users are managed by administrators, with names unique in any case and limits kept', async () => {
  await served.store.hosts.insert(aHost(HOST_IDS[0], 'edge-1'));
  const body = { name: 'Zoe', role: 'operator', password: PASSWORD, hosts: ['edge-1'], tags: ['eu'] };
  const post = (change: object = {}) =>
    served.call('/api/v1/users', { method: 'POST', body: { ...body, ...change }, token: served.token });
  const made = await post();
  assert.equal(made.status, 201, made.text);
  assert.ok(!made.text.includes('argon2'));
  assert.equal((await post({ name: 'zoe' })).body.code, 'CONFLICT');
  for (const change of [{ password: 'short' }, { password: 'a'.repeat(1025) }, { name: 'a b' }, { role: 'root' }]) {
    assert.equal((await post({ name: 'other', ...change })).status, 400);
  }
  const { items } = (await served.call('/api/v1/users', { token: served.token })).body;
  const row = items.find(({ name }: { name: string }) => name === 'Zoe');
  assert.deepEqual([row.hosts, row.tags, row.lastLoginAt], [[HOST_IDS[0]], ['eu'], null]);
  const { secret } = await served.logins.login({ user: 'zoe', password: PASSWORD, address: '203.0.113.1' });
  assert.deepEqual((await served.logins.authenticate(secret)).scope, { hosts: [HOST_IDS[0]], tags: ['eu'] });
  assert.equal((await served.call('/api/v1/users/nobody', { method: 'DELETE', token: served.token })).status, 404);
});

test('the sessions of one user are bounded: the one not used for longest ends', async () => {
  const name = await newUser(served);
  const cookies: string[] = [];
  for (let index = 0; index < 21; index++) cookies.push((await served.login(name, PASSWORD, from())).cookie);
  const statuses = await Promise.all(
    cookies.map(async (cookie) => (await served.call(SESSION, { headers: { cookie } })).status),
  );
  assert.deepEqual([statuses[0], statuses.slice(1).every((status) => status === 200)], [401, true]);
});
