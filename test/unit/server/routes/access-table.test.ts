/**
 * The table of routes: for each, who may use it and which hosts it shows, asked from outside with every sort of token. A
 * route that does not stand here fails the test.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { pino } from 'pino';
import { ApiTokens } from '../../../../server/access/api-tokens.ts';
import { allows } from '../../../../server/access/roles.ts';
import { Audit } from '../../../../server/audit/audit.ts';
import { Hosts } from '../../../../server/hosts/hosts.ts';
import { HostRegistry } from '../../../../server/hosts/registry.ts';
import { listenApi } from '../../../../server/listen.ts';
import { buildApi } from '../../../../server/routes/api.ts';
import type { Api } from '../../../../server/routes/app-types.ts';
import type { ApiDeps } from '../../../../server/routes/deps.ts';
import { openStore, type Store } from '../../../../server/store/store.ts';
import { type Clock, systemClock } from '../../../../shared/clock.ts';
import type { Role } from '../../../../shared/messages/kind.ts';
import { fileCleanup, tempDir } from '../../../support/tmp.ts';
import { aCertificate, aHost, HOST_IDS } from '../store/fixture.ts';
import { type Line, STACK, TABLE } from './access-lines.ts';
import { FakeHost } from './fake-host.ts';
import { fakeDeps } from './fakes.ts';

interface Identity {
  readonly name: string;
  readonly authorization: string | undefined;
  /** Undefined: no good token. */
  readonly role?: Role;
  /** The hosts it is limited to. */
  readonly only?: readonly string[];
}

const [INSIDE, OUTSIDE] = HOST_IDS;
const shared = fileCleanup();
const identities: Identity[] = [];
let store: Store;
let api: Api;
let base: string;

before(async () => {
  store = await openStore({ dataDir: `${await tempDir(shared, 'table')}/data`, clock: systemClock });
  await store.hosts.insert({ ...aHost(INSIDE, 'inside'), tags: ['lab'] });
  await store.hosts.insert({ ...aHost(OUTSIDE, 'outside'), tags: ['other'] });
  await store.certificates.insert(aCertificate('AB12', INSIDE));
  await store.certificates.insert(aCertificate('CD34', OUTSIDE));
  const log = pino({ level: 'silent' });
  const audit = new Audit({ store, clock: systemClock, log });
  const tokensAt = (clock: Clock) =>
    new ApiTokens({ store, audit, clock, log, caFingerprint: `sha256:${'ab'.repeat(32)}` });
  const apiTokens = tokensAt(systemClock);
  api = await buildApi({ ...fakeDeps().deps, hosts: hostsService(audit), audit, apiTokens, limits: noLimits() });
  base = `http://127.0.0.1:${await listenApi(api, { host: '127.0.0.1', port: 0 })}`;
  await makeIdentities(apiTokens, tokensAt({ ...systemClock, now: () => systemClock.now() - 7_200_000 }));
});

after(async () => {
  await api.close();
  await store.close();
});

/** The real service, with two hosts that are connected; what would take them away only seems to. */
function hostsService(audit: Audit): ApiDeps['hosts'] {
  const registry = new HostRegistry();
  for (const hostId of [INSIDE, OUTSIDE]) registry.attach(Object.assign(new FakeHost(), { hostId }));
  const never = () => assert.fail('nothing is revoked here');
  const hosts = new Hosts({ store, registry, audit, clock: systemClock, forget: never, disconnect: never });
  const seeming = { remove: async () => undefined, revoke: async () => undefined, revokeSerial: async () => undefined };
  return new Proxy(hosts, {
    get: (target, name) => {
      if (Object.hasOwn(seeming, name)) return seeming[name as keyof typeof seeming];
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

function noLimits() {
  const limits = { refusedLoginsPerMinute: 1e6, refusedLoginsPerMinuteInTotal: 1e6, refusalRowsPerMinute: 1 };
  return { ...limits, requestsPerMinuteOfToken: 1e6, enrollsPerMinute: 1e6 };
}

async function makeIdentities(tokens: ApiTokens, earlier: ApiTokens): Promise<void> {
  const actor = { name: 'test' };
  const bearer = (token: string) => `Bearer ${token}`;
  identities.push(
    { name: 'no token', authorization: undefined },
    { name: 'garbage', authorization: bearer('garbage') },
    { name: 'another scheme', authorization: 'Digest abc' },
  );
  for (const role of ['viewer', 'operator', 'admin'] as const) {
    const make = (more: object) => tokens.create({ name: role, role, ...more }, actor);
    const expired = await earlier.create({ name: role, role, expiresAt: systemClock.now() - 3_600_000 }, actor);
    const revoked = await make({});
    await tokens.revoke(revoked.id, actor);
    const rotated = await make({});
    await tokens.rotate(rotated.id, 0, actor);
    const add = (name: string, token: string, more: Partial<Identity> = {}) =>
      identities.push({ name: `${role}, ${name}`, authorization: bearer(token), ...more });
    add('expired', expired.token);
    add('revoked', revoked.token);
    add('rotated', rotated.token);
    add('all hosts', (await make({})).token, { role });
    add('one host', (await make({ hosts: ['inside'] })).token, { role, only: ['inside'] });
    add('a tag', (await make({ tags: ['lab'] })).token, { role, only: ['inside'] });
    add('another host', (await make({ hosts: ['outside'] })).token, { role, only: ['outside'] });
    add('a tag of nobody', (await make({ tags: ['nobody'] })).token, { role, only: [] });
  }
}

function ask(line: Line, host: string, { authorization }: Identity): Promise<Response> {
  const [route, , , , { query = '', body, call = '*', host: named, accept } = {}] = line;
  const [method = '', pattern = ''] = route.split(' ');
  const objects = { container: 'web', image: 'team%2Fapp:1', network: 'lan', volume: 'data', stack: 'web' };
  const revisions = { revision: '3', from: '3', to: '3' };
  const platform = { os: 'linux', arch: 'x64', file: 'fairlead-agent', sequence: '7' };
  const values: Record<string, string> = {
    host,
    ...objects,
    ...revisions,
    ...platform,
    id: 'none',
    serial: 'AB12',
    user: 'ann',
  };
  const path = pattern.replace(/:(\w+)/g, (_, name: string) => values[name] ?? '').replace('*', call);
  return fetch(`${base}${path}${query}`, {
    method,
    headers: {
      ...(authorization === undefined ? {} : { authorization }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(named === undefined ? {} : { 'x-fairlead-host': named }),
      ...(accept === undefined ? {} : { accept }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
}

function expected([, access, scope, ok, { needs, host } = {}]: Line, { role, only }: Identity): number {
  if (access === 'public') return ok;
  if (role === undefined) return 401;
  if (!allows(role, access)) return 403;
  if (only !== undefined && scope === 'installation') return 403;
  if (only?.includes('inside') === false && (scope === 'host' || host !== undefined)) return 404;
  return needs === undefined || allows(role, needs) ? ok : 403;
}

test('the table is whole: every route is in it, and nothing else', () => {
  const declared = api.declaredRoutes.map(({ method, url, access, scope }) => `${method} ${url}: ${access}, ${scope}`);
  const table = TABLE.map(([route, access, scope]) => `${route}: ${access}, ${scope}`);
  assert.deepEqual(declared.sort(), table.sort());
});

test('each route answers each sort of token as the table says', async () => {
  const wrong: string[] = [];
  for (const line of TABLE) {
    for (const identity of identities) {
      const answer = await ask(line, 'inside', identity);
      await answer.arrayBuffer();
      const status = expected(line, identity);
      if (answer.status !== status) wrong.push(`${line[0]} as ${identity.name}: ${answer.status}, not ${status}`);
    }
  }
  assert.deepEqual(wrong, []);
});

test('a host out of scope answers as one that does not exist, by name and by id', async () => {
  for (const line of TABLE.filter(([route, , scope]) => scope === 'host' && !route.startsWith('HEAD'))) {
    for (const identity of identities.filter(({ only }) => only?.includes('inside'))) {
      const answers = [];
      for (const ref of ['nobody', 'outside', OUTSIDE, OUTSIDE.toUpperCase()]) {
        const answer = await ask(line, ref, identity);
        const { requestId, ...problem } = (await answer.json()) as Record<string, unknown>;
        assert.ok(requestId);
        answers.push(JSON.parse(JSON.stringify(problem).replaceAll(ref, 'REF')));
        if (problem['code'] === 'FORBIDDEN') continue;
        assert.equal(problem['code'], 'HOST_NOT_FOUND', `${line[0]} ${ref} as ${identity.name}`);
      }
      assert.deepEqual(answers, Array(4).fill(answers[0]), line[0]);
    }
  }
});

test('lists show what is of hosts in scope, and nothing else', async () => {
  for (const identity of identities.filter(({ role }) => role !== undefined)) {
    const hosts = identity.only ?? ['inside', 'outside'];
    const list = async (route: string) => {
      const line = TABLE.find(([name]) => name === `GET /api/v1/${route}`);
      assert.ok(line);
      return (await (await ask(line, '', identity)).json()) as Record<string, Record<string, string>[]>;
    };
    const names = (rows: Record<string, string>[] | undefined, key: string) => rows?.map((row) => row[key]).sort();
    assert.deepEqual(names((await list('hosts'))['items'], 'name'), [...hosts], identity.name);
    assert.deepEqual(names((await list('certificates'))['items'], 'hostName'), [...hosts], identity.name);
    assert.deepEqual(names((await list('containers'))['unreachable'], 'host'), [...hosts], identity.name);
  }
});

test('every 401 says how to log in, and no answer repeats a token', async () => {
  for (const identity of identities.filter(({ role }) => role === undefined)) {
    const answer = await fetch(`${base}/api/v1/hosts`, {
      headers: identity.authorization === undefined ? {} : { authorization: identity.authorization },
    });
    assert.equal(answer.status, 401);
    assert.equal(answer.headers.get('www-authenticate'), 'Bearer');
    assert.doesNotMatch(await answer.text(), /fla1|garbage/);
  }
});

test('a stack is migrated to a host in the scope of the token only, and to no other', async () => {
  const to = (host: string): Line => [`POST ${STACK}/migrate`, 'operator', 'host', 200, { body: { to: host } }];
  const statuses: Record<string, number[]> = {};
  for (const identity of identities.filter(({ role }) => role === 'operator')) {
    const answers = [await ask(to('outside'), 'inside', identity), await ask(to('inside'), 'inside', identity)];
    for (const answer of answers) await answer.arrayBuffer();
    statuses[identity.name] = answers.map(({ status }) => status);
  }
  assert.deepEqual(statuses['operator, all hosts'], [200, 200]);
  assert.deepEqual(statuses['operator, one host'], [404, 200]);
  assert.deepEqual(statuses['operator, another host'], [404, 404]);
});
