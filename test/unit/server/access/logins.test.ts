/** Login by password as browsers see it, over real TLS: cookies, CSRF, origins, lockout, and how sessions end. */
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { fileCleanup } from '../../../support/tmp.ts';
import { waitFor, within } from '../../../support/wait.ts';
import { aHost, HOST_IDS } from '../store/fixture.ts';
import { ADMIN, type Served, serveApi } from './served-api.ts';

const PASSWORD = 'correct horse battery';
const SESSION = '/api/v1/session';
const MINUTE_MS = 60_000;
const shared = fileCleanup();
let served: Served;

before(async () => {
  served = await serveApi(shared, { trustProxy: true });
  await served.users.create({ name: 'Ann', role: 'admin', password: PASSWORD }, ADMIN);
});

/** Requests from another address each. */
let lastAddress = 0;
const from = (address = `198.51.100.${++lastAddress}`) => ({ 'x-forwarded-for': address });

/** A user of its own for a test. */
let lastUser = 0;
async function newUser(on = served): Promise<string> {
  const name = `user-${++lastUser}`;
  await on.users.create({ name, role: 'operator', password: PASSWORD }, ADMIN);
  return name;
}

test('a login sets a cookie that scripts, other sites and plain HTTP never get', async () => {
  const answer = await served.login('ann', PASSWORD, from());
  assert.equal(answer.status, 200, answer.text);
  assert.match(
    answer.headers['set-cookie']?.join('|') ?? '',
    /^__Host-fairlead=[A-Za-z0-9_-]{43}; Path=\/; Secure; HttpOnly; SameSite=Strict$/,
  );
  const { csrfToken, expiresAt, ...rest } = answer.body;
  assert.deepEqual(rest, { user: 'Ann', role: 'admin', hosts: [], tags: [] });
  assert.match(csrfToken, /^[A-Za-z0-9_-]{43}$/);
  assert.equal(Date.parse(expiresAt) - served.clock.now(), 12 * 60 * MINUTE_MS);
  assert.ok(!answer.cookie.includes(csrfToken));
  const session = await served.call(SESSION, { headers: { cookie: `a=b; ${answer.cookie}` } });
  assert.deepEqual(session.body, answer.body);
  const me = await served.call('/api/v1/whoami', { headers: { cookie: answer.cookie } });
  assert.match(me.body.tokenId, /^login:[0-9a-f]{20}$/);
  assert.equal(me.body.name, 'Ann');
});

test('a change by cookie needs the csrfToken of that session', async () => {
  const mine = await served.login('ann', PASSWORD, from());
  const other = await served.login('ann', PASSWORD, from());
  const post = (headers: Record<string, string>) =>
    served.call('/api/v1/api-tokens', {
      method: 'POST',
      body: { name: 'x', role: 'viewer' },
      headers: { cookie: mine.cookie, ...headers },
    });
  for (const headers of [{}, { 'x-csrf-token': '' }, { 'x-csrf-token': 'wrong' }, { 'x-csrf-token': other.csrf }]) {
    const refused = await post(headers as Record<string, string>);
    assert.deepEqual([refused.status, refused.body.code], [403, 'FORBIDDEN']);
    assert.match(refused.body.detail, /x-csrf-token/);
  }
  assert.equal((await post({ 'x-csrf-token': mine.csrf })).status, 201);
  assert.equal((await post({ 'x-csrf-token': mine.csrf, origin: served.url })).status, 201);
  for (const origin of ['https://evil.example', 'null', served.url.replace('https', 'http'), 'https://127.0.0.1:1']) {
    assert.equal((await post({ 'x-csrf-token': mine.csrf, origin })).status, 403, origin);
  }
  const row = (await served.auditRows()).find(({ action }) => action === 'POST /api/v1/api-tokens');
  assert.deepEqual([row?.actor, row?.result], ['Ann', 'refused']);
});

test('a page of a sibling domain, which may use the cookie, cannot ask anything by it', async () => {
  const { cookie } = await served.login('ann', PASSWORD, from());
  const ask = (site: string) => served.call(SESSION, { headers: { cookie, 'sec-fetch-site': site } });
  const refused = await ask('same-site');
  assert.deepEqual([refused.status, refused.body.code], [403, 'FORBIDDEN']);
  assert.equal((await ask('same-origin')).status, 200);
});

/** What the EventSource of a browser sends, of a page of this server. */
const EVENT_SOURCE = {
  ...{ accept: 'text/event-stream', 'cache-control': 'no-cache' },
  ...{ 'sec-fetch-site': 'same-origin', 'sec-fetch-mode': 'cors', 'sec-fetch-dest': 'empty' },
};
const EVENTS = '/api/v1/events?type=container';

test('an EventSource of a page of this server reads events by cookie, and goes on where it was', async () => {
  const mine = await served.login('ann', PASSWORD, from());
  const headers = { ...EVENT_SOURCE, cookie: mine.cookie };
  const first = await served.open(EVENTS, { headers });
  const told = Object.entries(first.headers).filter(([name]) => name.startsWith('access-control-'));
  assert.deepEqual([first.statusCode, first.headers['content-type'], told], [200, 'text/event-stream', []]);
  let text = '';
  first.setEncoding('utf8').on('data', (some: string) => {
    text += some;
  });
  const ended = new Promise<unknown>((resolve) => first.once('error', resolve));
  await waitFor('an event', () => /^id: 8\nevent: container\./m.test(text));
  const again = await served.open(EVENTS, { headers: { ...headers, 'last-event-id': '8' } });
  again.on('error', () => undefined).resume();
  const [, following] = served.fakes.calls.findLast(({ name }) => name === 'events.follow')?.args ?? [];
  assert.equal((following as { after: number }).after, 8);
  const csrf = { 'x-csrf-token': mine.csrf };
  await served.call('/api/v1/logout', { method: 'POST', headers: { cookie: mine.cookie, ...csrf } });
  await within(1_000, 'the end of the stream', ended);
  // A browser that is told so does not come back by itself.
  assert.equal((await served.call(EVENTS, { headers: { ...headers, 'last-event-id': '8' } })).status, 401);
});

test('an EventSource of any other page keeps no stream, whatever the browser tells of it', async () => {
  const { cookie } = await served.login('ann', PASSWORD, from());
  const { 'sec-fetch-site': _site, 'sec-fetch-mode': _mode, 'sec-fetch-dest': _dest, ...plain } = EVENT_SOURCE;
  const before = served.fakes.calls.filter(({ name }) => name === 'events.follow').length;
  for (const headers of [
    { ...EVENT_SOURCE, 'sec-fetch-site': 'same-site', origin: 'https://sibling.example' },
    { ...EVENT_SOURCE, 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' },
    // A browser that knows no Fetch Metadata, and a page that hides its origin.
    { ...plain, origin: 'https://evil.example' },
    { ...plain, origin: 'null' },
  ]) {
    const refused = await served.call(EVENTS, { headers: { ...headers, cookie } });
    assert.deepEqual([refused.status, refused.body.code], [403, 'FORBIDDEN'], JSON.stringify(headers));
  }
  assert.equal(served.fakes.calls.filter(({ name }) => name === 'events.follow').length, before);
});

test('a WebSocket by cookie needs the origin of this server; one by token needs none', async () => {
  const { cookie } = await served.login('ann', PASSWORD, from());
  const port = String(served.port);
  const cases: [Record<string, string>, number][] = [
    [{ cookie }, 403],
    [{ cookie, origin: 'https://evil.example' }, 403],
    [{ cookie, origin: 'null' }, 403],
    [{ cookie, origin: `http://127.0.0.1:${port}` }, 403],
    [{ cookie, origin: 'https://127.0.0.1:1' }, 403],
    // A name of the attacker's that is made to point here.
    [{ cookie, origin: `https://evil.example:${port}`, host: `evil.example:${port}` }, 403],
    [{ cookie, origin: `https://127.0.0.1:${port}` }, 101],
    [{ cookie, origin: `https://localhost:${port}`, host: `localhost:${port}` }, 101],
    // What a proxy in front, which is trusted here, serves at the usual port.
    [{ cookie, origin: 'https://localhost' }, 101],
    [{ authorization: `Bearer ${served.token}` }, 101],
    [{ authorization: `Bearer ${served.token}`, origin: 'https://evil.example' }, 101],
  ];
  for (const [headers, status] of cases) {
    assert.equal((await served.upgrade(headers)).status, status, JSON.stringify({ ...headers, cookie: undefined }));
  }
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
    const name = await newUser();
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
  const name = await newUser();
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
  const name = await newUser();
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
  assert.equal((await served.login(await newUser(), PASSWORD, here)).status, 200, 'others are kept out here');
  served.clock.advance(8_000);
  assert.equal((await served.login(name, PASSWORD, here)).status, 200);
  assert.equal((await served.login(name, 'wrong', here)).status, 401, 'a success forgives');
  const lockouts = (await served.auditRows()).filter(({ action }) => action === 'login.lockout');
  assert.ok(lockouts.some(({ target, result }) => target === name && result === 'refused'));
});

test('many tries at once are as many tries, and many users from one address are one stranger', async () => {
  const name = await newUser();
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

test('without TLS a cookie is neither set nor taken, unless a trusted proxy has it', async (t) => {
  const plain = await serveApi(t, { apiTls: { mode: 'off' } });
  const name = await newUser(plain);
  const refused = await plain.login(name, PASSWORD);
  assert.deepEqual([refused.status, refused.headers['set-cookie']], [409, undefined]);
  assert.match(refused.body.detail, /HTTPS/);
  const { secret } = await plain.logins.login({ user: name, password: PASSWORD, address: '::1' });
  const cookie = `__Host-fairlead=${secret}`;
  assert.equal((await plain.call(SESSION, { headers: { cookie } })).status, 409);
  assert.equal((await plain.call(SESSION, { token: plain.token })).status, 404);

  const proxied = await serveApi(t, { apiTls: { mode: 'off' }, trustProxy: true });
  const user = await newUser(proxied);
  const behind = await proxied.login(user, PASSWORD, { 'x-forwarded-proto': 'https' });
  assert.match(behind.headers['set-cookie']?.[0] ?? '', /Secure/);
  assert.equal((await proxied.login(user, PASSWORD, { 'x-forwarded-proto': 'http' })).status, 409);
  assert.equal((await proxied.upgrade({ cookie: behind.cookie, origin: 'https://localhost' })).status, 101);
  assert.equal((await proxied.upgrade({ cookie: behind.cookie, origin: 'https://evil.example' })).status, 403);
});

test('two session cookies at once are none, and a token beside one decides alone', async () => {
  const { cookie } = await served.login('ann', PASSWORD, from());
  assert.equal((await served.call(SESSION, { headers: { cookie: `${cookie}; ${cookie}` } })).status, 401);
  const me = await served.call('/api/v1/whoami', { headers: { cookie }, token: served.token });
  assert.equal(me.body.name, 'root');
  const out = await served.call('/api/v1/logout', { method: 'POST', headers: { cookie }, token: served.token });
  assert.equal(out.status, 404);
  assert.equal((await served.call(SESSION, { headers: { cookie } })).status, 200);
});

test('a session wins over the certificate of the connection, and its role counts', async () => {
  const { pair } = await served.operator('admin');
  const name = await newUser();
  const { cookie } = await served.login(name, PASSWORD, from());
  assert.equal((await served.call('/api/v1/whoami', { headers: { cookie }, pair })).body.name, name);
  assert.equal((await served.call('/api/v1/users', { headers: { cookie }, pair })).status, 403);
  assert.equal((await served.call('/api/v1/users', { pair })).status, 200);
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
  const name = await newUser();
  const cookies: string[] = [];
  for (let index = 0; index < 21; index++) cookies.push((await served.login(name, PASSWORD, from())).cookie);
  const statuses = await Promise.all(
    cookies.map(async (cookie) => (await served.call(SESSION, { headers: { cookie } })).status),
  );
  assert.deepEqual([statuses[0], statuses.slice(1).every((status) => status === 200)], [401, true]);
});
