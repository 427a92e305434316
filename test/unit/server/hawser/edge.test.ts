/** The door of Hawser's agents: who is welcomed, as which host, who is not, and who has to go. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { pino } from 'pino';
import { environmentOf } from '../../../../server/hawser/edge.ts';
import { MAX_WAITING } from '../../../../server/hawser/waiting-agents.ts';
import { Hosts } from '../../../../server/hosts/hosts.ts';
import { reportReplacements } from '../../../../server/hosts/replacements.ts';
import { waitFor } from '../../../support/wait.ts';
import { FakeSocket } from './fake-socket.ts';
import { ADMIN, openEdge } from './fixture.ts';

test('the first hello makes the host of the token, and each later one finds it', async (t) => {
  const { tokens, connect, store, registry, edge, clock } = await openEdge(t);
  const made = await tokens.create({ name: 'nas' }, ADMIN);
  assert.match(made.token, /^[A-Za-z0-9_-]{43}$/);
  const first = await connect(made.token);
  const welcome = first.ofType('welcome')[0];
  const host = await store.hosts.get('nas');
  assert.equal(host.kind, 'hawser-edge');
  assert.equal(welcome.environmentId, environmentOf(host.id));
  assert.ok(Number.isInteger(welcome.environmentId));
  assert.equal(first.sent[0], welcome);
  const link = registry.link(host.id);
  assert.equal(link?.describe().hostname, 'vm');
  // What has one is counted as a session of our own protocol.
  assert.ok(link !== undefined && !('session' in link));
  assert.deepEqual(
    edge.connections().map(({ hostName, agentId }) => [hostName, agentId]),
    [['nas', 'one']],
  );
  first.terminate();
  clock.advance(1_000);
  const second = await connect(made.token, { agentId: 'two' });
  assert.equal(second.ofType('welcome')[0].environmentId, welcome.environmentId);
  assert.equal((await store.hosts.list({})).items.length, 1);
  assert.equal((await tokens.list({})).items[0]?.hostName, 'nas');
  assert.equal((await tokens.list({})).items[0]?.lastUsedAddress, '192.0.2.7');
});

test('agents that show a new token at once make one host', async (t) => {
  const { tokens, connect, store } = await openEdge(t);
  const { token } = await tokens.create({ name: 'nas' }, ADMIN);
  await Promise.all(['a', 'b', 'c'].map((agentId) => connect(token, { agentId })));
  assert.equal((await store.hosts.list({})).items.length, 1);
});

test('whoever has no token is told so in both spellings, and nothing of it is logged', async (t) => {
  const { tokens, connect, refusals, lines, store, clock } = await openEdge(t);
  const { token, id } = await tokens.create({ name: 'nas', expiresAt: clock.now() + 1_000 }, ADMIN);
  const wrong = `${token.slice(0, 8)}${'x'.repeat(35)}`;
  const socket = await connect(wrong);
  const error = socket.ofType('error')[0];
  assert.equal(error.error, error.message);
  assert.equal(error.code, 'TOKEN_INVALID');
  assert.equal(socket.ofType('welcome').length, 0);
  assert.equal(socket.closedWith?.code, 1008);
  assert.equal(refusals[0]?.error.code, 'TOKEN_INVALID');
  clock.advance(1_000);
  assert.equal((await connect(token)).ofType('error')[0].code, 'TOKEN_INVALID');
  await tokens.revoke(id, ADMIN);
  assert.equal((await store.hosts.list({})).items.length, 0);
  const logged = lines.join('');
  assert.ok(!logged.includes(token) && !logged.includes(wrong));
  const row = await store.hawserTokens.find(id);
  assert.match(row?.tokenHash ?? '', /^\$argon2id\$/);
  assert.ok(!JSON.stringify(await store.audit.list({ limit: 100 })).includes(token));
});

test('a first message that is no hello, too large, or does not come, ends the connection', async (t) => {
  const { edge, clock } = await openEdge(t);
  const begin = () => {
    const socket = new FakeSocket();
    const done = edge.accept({ ws: socket.ws, socket: socket.raw, address: '192.0.2.7', onWelcome: () => undefined });
    return { socket, done };
  };
  const ping = begin();
  ping.socket.say({ type: 'ping' });
  await ping.done;
  assert.equal(ping.socket.ofType('error')[0].code, 'MESSAGE_INVALID');
  const silent = begin();
  clock.advance(10_000);
  await silent.done;
  assert.equal(silent.socket.ofType('error')[0].code, 'TIMEOUT');
  const large = begin();
  large.socket.raw.write(Buffer.alloc(20 * 1024));
  await large.done;
  assert.equal(large.socket.isTerminated, true);
});

test('silent connections keep no agent out, of their own network or another, and leave no line in the log', async (t) => {
  const { edge, tokens, connect, lines, refusals } = await openEdge(t);
  const { token } = await tokens.create({ name: 'nas' }, ADMIN);
  const silent = (address: string) => {
    const socket = new FakeSocket();
    void edge.accept({ ws: socket.ws, socket: socket.raw, address, onWelcome: () => undefined });
    return socket;
  };
  const patient = silent('203.0.113.1');
  const flood = Array.from({ length: 400 }, (_, n) => silent(n < 100 ? '192.0.2.7' : `2001:db8:0:${n % 32}::${n}`));
  assert.equal((await connect(token, { address: '198.51.100.1' })).ofType('welcome').length, 1);
  assert.equal((await connect(token, { address: '192.0.2.7' })).ofType('welcome').length, 1);
  assert.equal(patient.isTerminated, false);
  const left = flood.filter((socket) => !socket.isTerminated);
  assert.ok(left.length <= MAX_WAITING, String(left.length));
  assert.equal(flood[99]?.isTerminated, false);
  assert.equal(flood[0]?.isTerminated, true);
  await turn();
  assert.deepEqual(
    lines.filter((line) => line.includes('refused') && JSON.parse(line).level > 20),
    [],
  );
  assert.deepEqual(refusals, []);
  edge.close();
  assert.ok(flood.every(({ isTerminated }) => isTerminated));
});

test('a token that is revoked, or expires, ends its session at once', async (t) => {
  const { tokens, connect, registry, clock, store } = await openEdge(t);
  const lasting = await tokens.create({ name: 'nas' }, ADMIN);
  const short = await tokens.create({ name: 'pi', expiresAt: clock.now() + 60_000 }, ADMIN);
  const [one, two] = [await connect(lasting.token), await connect(short.token)];
  await tokens.revoke(lasting.id, ADMIN);
  assert.equal(one.ofType('error')[0].code, 'TOKEN_INVALID');
  assert.notEqual(one.closedWith, undefined);
  await turn();
  assert.equal(registry.link((await store.hosts.get('nas')).id), undefined);
  assert.equal(two.closedWith, undefined);
  clock.advance(60_000);
  assert.equal(two.ofType('error')[0].code, 'TOKEN_INVALID');
  assert.equal((await connect(lasting.token)).ofType('error')[0].code, 'TOKEN_INVALID');
});

test('a token that is revoked while its hello is looked at opens nothing', async (t) => {
  const { tokens, edge, hello, registry } = await openEdge(t);
  const { token, id } = await tokens.create({ name: 'nas' }, ADMIN);
  const socket = new FakeSocket();
  const done = edge.accept({ ws: socket.ws, socket: socket.raw, address: '192.0.2.7', onWelcome: () => undefined });
  socket.say(hello(token, 'one'));
  await tokens.revoke(id, ADMIN);
  await done;
  assert.notEqual(socket.closedWith, undefined);
  assert.equal(registry.size, 0);
});

test('a rotated token goes on for its overlap, and both lead to one host', async (t) => {
  const { tokens, connect, clock, store } = await openEdge(t);
  const old = await tokens.create({ name: 'nas' }, ADMIN);
  const socket = await connect(old.token);
  const next = await tokens.rotate(old.id, 60, ADMIN);
  assert.equal(socket.closedWith, undefined);
  await assert.rejects(tokens.rotate(old.id, 60, ADMIN), { code: 'CONFLICT' });
  clock.advance(60_000);
  assert.notEqual(socket.closedWith, undefined);
  await connect(next.token, { agentId: 'two' });
  assert.equal((await store.hosts.list({})).items.length, 1);
});

test('of two agents with one token the newest wins, once, and the other waits for its end', async (t) => {
  const { tokens, connect, registry, store, clock } = await openEdge(t);
  const replaced: string[] = [];
  registry.subscribe({ replaced: (older, newer) => replaced.push(`${older.instanceId} ${newer.instanceId}`) });
  const { token } = await tokens.create({ name: 'nas' }, ADMIN);
  const first = await connect(token, { agentId: 'first' });
  const again = await connect(token, { agentId: 'first' });
  assert.equal(first.closedWith?.code, 1000);
  const second = await connect(token, { agentId: 'second' });
  assert.notEqual(again.closedWith, undefined);
  for (let n = 0; n < 20; n++) {
    clock.advance(1_000);
    second.say({ type: 'ping' });
    const loser = await connect(token, { agentId: 'first' });
    assert.equal(loser.ofType('error')[0].code, 'REPLACED');
  }
  assert.equal(second.closedWith, undefined);
  assert.equal(replaced.filter((pair) => pair.startsWith('first') && pair.includes(' second')).length, 1);
  second.terminate();
  await turn();
  const back = await connect(token, { agentId: 'first' });
  assert.equal(back.ofType('welcome').length, 1);
  assert.equal(registry.link((await store.hosts.get('nas')).id)?.instanceId.startsWith('first'), true);
});

test('that a second agent took the place is in the audit log and in the log, once, with both', async (t) => {
  const { tokens, connect, registry, store, audit, clock, lines } = await openEdge(t);
  const log = pino({ level: 'warn' }, { write: (line: string) => void lines.push(line) });
  t.after(reportReplacements({ registry, audit, clock, log }));
  const { token } = await tokens.create({ name: 'nas' }, ADMIN);
  const rows = async () => (await audit.list({ limit: 100 }, { action: 'session.replace' })).items;
  await connect(token, { agentId: 'first' });
  const { id: hostId } = await store.hosts.get('nas');
  const older = registry.link(hostId)?.instanceId;
  assert.deepEqual(await rows(), []);
  await connect(token, { agentId: 'second' });
  const newer = registry.link(hostId)?.instanceId;
  assert.notEqual(older, newer);
  // The loser comes back, and is sent away: nothing has taken the place of anything.
  await connect(token, { agentId: 'first' });
  const written = await waitFor('the row', async () => (await rows())[0]);
  assert.equal((await rows()).length, 1);
  assert.deepEqual(
    [written.actor, written.target, written.result, written.detail],
    [
      `host:${hostId}`,
      hostId,
      'ok',
      {
        older: { instanceId: older, hostname: 'vm' },
        newer: { instanceId: newer, hostname: 'vm' },
        unreportedBefore: 0,
      },
    ],
  );
  assert.equal(lines.filter((line) => line.includes('another agent process took over')).length, 1);
});

test('two agents that nothing tells apart do not take the place of each other for ever', async (t) => {
  const { tokens, connect, clock } = await openEdge(t);
  const { token } = await tokens.create({ name: 'nas' }, ADMIN);
  const addresses = ['192.0.2.7', '198.51.100.9'] as const;
  let present = { socket: await connect(token, { address: addresses[1] }), address: addresses[1] as string };
  let taken = 0;
  for (let n = 0; n < 40; n++) {
    clock.advance(12_000);
    present.socket.say({ type: 'pong' });
    const address = addresses.find((one) => one !== present.address) ?? '';
    const socket = await connect(token, { address });
    if (socket.ofType('welcome').length === 0) {
      assert.match(socket.ofType('error')[0].message, /AGENT_ID of its own/);
      continue;
    }
    taken++;
    present = { socket, address };
  }
  assert.ok(taken >= 5 && taken <= 6, String(taken));
  assert.equal(present.socket.closedWith, undefined);
  // One that has not been heard of for a while is no reason, and whoever is there may begin anew.
  clock.advance(12_000);
  assert.equal((await connect(token, { address: present.address })).ofType('welcome').length, 1);
  clock.advance(31_000);
  assert.equal((await connect(token, { address: '203.0.113.4' })).ofType('welcome').length, 1);
});

test('an agent that begins again and again is let in at a rate', async (t) => {
  const { tokens, connect, clock } = await openEdge(t);
  const { token } = await tokens.create({ name: 'nas' }, ADMIN);
  let welcomes = 0;
  for (let n = 0; n < 60; n++) {
    const socket = await connect(token);
    welcomes += socket.ofType('welcome').length;
    const [error] = socket.ofType('error');
    if (socket.ofType('welcome').length === 0) assert.equal(error.retryAfter, 12);
    clock.advance(1_000);
  }
  assert.ok(welcomes <= 15, `${welcomes} of 60`);
});

test('a host that is revoked or removed takes its tokens and its session with it', async (t) => {
  const { tokens, connect, registry, store, audit, clock, edge } = await openEdge(t);
  const hosts = new Hosts({
    ...{ store, registry, clock, audit },
    forget: () => undefined,
    disconnect: (target, code, reason) => edge.disconnect(target, code, reason),
  });
  for (const [name, end] of [
    ['nas', () => hosts.revoke('nas', 'sold', ADMIN)],
    ['pi', () => hosts.remove('pi', ADMIN)],
    ['box', () => hosts.revokeMany({ hosts: ['box'], reason: 'sold' }, ADMIN)],
  ] as const) {
    const { token, id } = await tokens.create({ name }, ADMIN);
    const socket = await connect(token);
    await end();
    assert.notEqual(socket.closedWith, undefined, name);
    assert.notEqual((await store.hawserTokens.find(id))?.revokedAt, undefined, name);
    assert.equal((await connect(token)).ofType('error')[0].code, 'TOKEN_INVALID', name);
  }
});

test('a token is bound to hosts of Hawser alone', async (t) => {
  const { tokens, connect, store, clock } = await openEdge(t);
  const first = await tokens.create({ name: 'nas' }, ADMIN);
  await connect(first.token);
  const bound = await tokens.create({ name: 'another', host: 'nas' }, ADMIN);
  await connect(bound.token, { agentId: 'two' });
  assert.equal((await store.hosts.list({})).items.length, 1);
  const native = { os: 'linux', arch: 'x64', hostname: 'h', agentVersion: '1', tags: [], createdAt: clock.now() };
  await store.hosts.insert({ id: crypto.randomUUID(), name: 'shed', ...native });
  await assert.rejects(tokens.create({ name: 'x', host: 'shed' }, ADMIN), { code: 'CONFLICT' });
  await assert.rejects(tokens.create({ name: 'x', host: 'none' }, ADMIN), { code: 'HOST_NOT_FOUND' });
  await assert.rejects(tokens.create({ name: ' ' }, ADMIN), { code: 'VALIDATION' });
  await assert.rejects(tokens.create({ name: 'x', expiresAt: clock.now() }, ADMIN), { code: 'VALIDATION' });
});
