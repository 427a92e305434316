import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encode } from '@msgpack/msgpack';
import { isFairleadError } from '../../../../shared/errors.ts';
import { HELLO_TIMEOUT_MS } from '../../../../shared/limits.ts';
import { hello, welcome } from '../../../../shared/messages/control.ts';
import { encodeFrame } from '../../../../shared/mux/frame.ts';
import { chosenCompression, greetServer, receiveHello } from '../../../../shared/mux/handshake.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { memoryPair } from '../../../support/memory-pair.ts';
import { callKind, greet, HELLO, sessionsOver, settle, welcomeFrom } from '../../../support/mux.ts';

const code = (expected: string) => (error: unknown) => isFairleadError(error) && error.code === expected;

function make() {
  const clock = new FakeClock();
  const link = memoryPair();
  return { clock, link, ...sessionsOver(link, { clock }) };
}

for (const [offered, spoken, chosen] of [
  [[1], [1], 1],
  [[1, 2, 3], [1, 2], 2],
  [[3, 1], [1, 2, 3], 3],
  [[65535, 7], [7, 9], 7],
] as const) {
  test(`of ${offered} and ${spoken} the highest common version is ${chosen}`, async () => {
    const { server, agent, link } = make();
    agent.sendControl(hello, { ...HELLO, versions: [...offered] });
    const { hello: heard, version } = await receiveHello(server, spoken);
    assert.equal(version, chosen);
    assert.deepEqual(heard.versions, offered);
    link.cut();
  });
}

test('no common version: both ranges are told, and both ends know which of them', async () => {
  const { server, agent } = make();
  const greeting = greetServer(agent, { ...HELLO, versions: [4, 5] });
  await assert.rejects(receiveHello(server, [1, 2, 3]), (error) => {
    assert.ok(code('VERSION')(error));
    assert.match(String(error), /1, 2, 3/);
    assert.match(String(error), /4, 5/);
    return true;
  });
  await assert.rejects(greeting, code('VERSION'));
  const end = await agent.closed;
  assert.equal(end.by, 'remote');
  assert.deepEqual(end.versions, [1, 2, 3]);
  assert.deepEqual((await server.closed).versions, [1, 2, 3]);
});

test('a version that was not offered is refused by the agent, which tells what it speaks', async () => {
  const { server, agent } = make();
  const greeting = greetServer(agent, HELLO);
  await receiveHello(server);
  server.sendControl(welcome, { ...welcomeFrom(server), version: 2 });
  await assert.rejects(greeting, code('VERSION'));
  const end = await server.closed;
  assert.equal(end.code, 'VERSION');
  assert.deepEqual(end.versions, HELLO.versions);
});

test('an agent that says nothing is turned away after the timeout, and not before', async () => {
  const { clock, server, agent } = make();
  const greeting = receiveHello(server);
  clock.advance(HELLO_TIMEOUT_MS - 1);
  await settle(3);
  assert.equal(server.draining, false);
  clock.advance(1);
  await assert.rejects(greeting, code('TIMEOUT'));
  assert.equal((await agent.closed).code, 'TIMEOUT');
});

test('a server that does not welcome is left after the timeout', async () => {
  const { clock, server, agent } = make();
  const greeting = greetServer(agent, HELLO);
  await receiveHello(server);
  clock.advance(HELLO_TIMEOUT_MS);
  await assert.rejects(greeting, code('TIMEOUT'));
  assert.equal((await server.closed).code, 'TIMEOUT');
});

test('a greeting in time leaves no timer behind', async () => {
  const { clock, server, agent, link } = make();
  await greet({ server, agent });
  assert.equal(clock.pendingTimers, 0);
  clock.advance(10 * HELLO_TIMEOUT_MS);
  await settle(3);
  assert.equal(server.draining || agent.draining, false);
  link.cut();
});

test('a connection that breaks during the greeting fails both sides at once', async () => {
  const { clock, server, agent, link } = make();
  const greetings = [greetServer(agent, HELLO), receiveHello(server)];
  link.cut();
  for (const greeting of greetings) await assert.rejects(greeting, code('STREAM_INTERRUPTED'));
  assert.equal(clock.pendingTimers, 0);
});

test('nothing is opened before the welcome', async () => {
  const { server, agent, link } = make();
  assert.throws(() => server.open(callKind, { text: '' }), code('STREAM_INTERRUPTED'));
  agent.sendControl(hello, HELLO);
  await receiveHello(server);
  assert.throws(() => server.open(callKind, { text: '' }), code('STREAM_INTERRUPTED'));
  await assert.rejects(server.ping(), code('STREAM_INTERRUPTED'));
  server.sendControl(welcome, welcomeFrom(server));
  assert.doesNotThrow(() => server.open(callKind, { text: '' }));
  link.cut();
});

test('a hello beyond the size of a greeting is refused before it is sent', () => {
  const { agent, link } = make();
  const capabilities = Array.from({ length: 128 }, (_, index) => `${index}`.padEnd(64, 'x'));
  assert.throws(() => agent.sendControl(hello, { ...HELLO, capabilities }), code('MESSAGE_INVALID'));
  link.cut();
});

test('a welcome that grants more than its session takes is a mistake of this end', async () => {
  const { server, agent, link } = make();
  agent.sendControl(hello, HELLO);
  await receiveHello(server);
  const value = welcomeFrom(server);
  for (const more of [{ frameBytes: 1 }, { windowBytes: 1 }, { streams: 1 }]) {
    const limits = { ...value.limits };
    for (const [key, by] of Object.entries(more)) limits[key as keyof typeof limits] += by;
    assert.throws(() => server.sendControl(welcome, { ...value, limits }), /grants more/);
  }
  link.cut();
});

for (const [what, offered, agreed] of [
  ['an agent that offers none', undefined, false],
  ['an agent that offers an empty list', [], false],
  ['an agent that offers another', ['zstd'], false],
  ['an agent that offers it among others', ['zstd', 'deflate'], true],
] as const) {
  test(`compression with ${what}: ${agreed ? 'agreed' : 'none'}`, async () => {
    const { server, agent, link } = make();
    const offer = offered === undefined ? {} : { compression: [...offered] };
    const welcomed = greetServer(agent, { ...HELLO, ...offer });
    const greeting = await receiveHello(server);
    server.sendControl(welcome, { ...welcomeFrom(server), ...chosenCompression(greeting.hello) });
    assert.equal((await welcomed).compression, agreed ? 'deflate' : undefined);
    link.cut();
  });
}

test('a welcome with a compression that the agent did not offer is a mistake of the server', async () => {
  const { server, agent, link } = make();
  agent.sendControl(hello, HELLO);
  await receiveHello(server);
  const value = { ...welcomeFrom(server), compression: 'deflate' } as const;
  assert.throws(() => server.sendControl(welcome, value), /was not offered/);
  link.cut();
});

for (const [compression, ends] of [
  ['deflate', 'PROTOCOL_ERROR'],
  ['zstd', 'MESSAGE_INVALID'],
] as const) {
  test(`an agent that is told to use ${compression}, which it did not offer, ends the session`, async () => {
    const { server, agent, link } = make();
    const greeting = greetServer(agent, HELLO);
    link.server.inject(encodeFrame(welcome.code, 0, 0, encode({ ...welcomeFrom(server), compression })));
    await assert.rejects(greeting, code(ends));
    assert.equal((await agent.closed).code, ends);
  });
}
