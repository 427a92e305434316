/** The cookie of a session as browsers hold it, over real TLS: CSRF, origins, event sources and WebSockets. */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { fileCleanup } from '../../../support/tmp.ts';
import { waitFor, within } from '../../../support/wait.ts';
import { ADMIN, from, newUser, PASSWORD, SESSION, type Served, serveApi } from './served-api.ts';

const MINUTE_MS = 60_000;
const shared = fileCleanup();
let served: Served;

before(async () => {
  served = await serveApi(shared, { trustProxy: true });
  await served.users.create({ name: 'Ann', role: 'admin', password: PASSWORD }, ADMIN);
});

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
  const name = await newUser(served);
  const { cookie } = await served.login(name, PASSWORD, from());
  assert.equal((await served.call('/api/v1/whoami', { headers: { cookie }, pair })).body.name, name);
  assert.equal((await served.call('/api/v1/users', { headers: { cookie }, pair })).status, 403);
  assert.equal((await served.call('/api/v1/users', { pair })).status, 200);
});
