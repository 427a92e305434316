/** What a session of Edge mode does with what its server says, before a Docker that answers as each test says. */
import assert from 'node:assert/strict';
import type { RequestListener } from 'node:http';
import type { Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { FakeClock } from '../../../support/fake-clock.ts';
import { waitFor, within } from '../../../support/wait.ts';
import type { FakeSocket, Message } from '../../server/hawser/fake-socket.ts';
import { openedEdge } from './edge-fixture.ts';
import { type ContextOptions, fixture } from './fixture.ts';

const LOGS = '/containers/x/logs?follow=1';

async function over(t: TestContext, answer: RequestListener, options: ContextOptions = {}) {
  return await openedEdge(t, await fixture(t, answer, options));
}

const request = (requestId: string, rest: object = {}) => ({
  ...{ type: 'request', requestId, method: 'GET', path: '/containers/json', headers: {}, streaming: false },
  ...rest,
});

async function answerTo(socket: FakeSocket, id: string, type: string): Promise<Message> {
  return await waitFor(`the ${type} of ${id}`, () =>
    socket.sent.find((message) => message.type === type && (message.requestId ?? message.execId) === id),
  );
}

test('a body goes to Docker as it is written, and says what it is', async (t) => {
  const seen: { type: string | undefined; body: string }[] = [];
  const { socket } = await over(t, async (given, response) => {
    seen.push({ type: given.headers['content-type'], body: (await text(given)).toString() });
    response
      .writeHead(201, { 'X-Twice': ['a', 'b'], 'content-type': 'text/plain' })
      .end(Buffer.from('caf\xe9', 'latin1'));
  });
  const post = { method: 'POST', path: '/containers/create' };
  // A number that a double does not hold.
  const exact = JSON.stringify(request('r1', { ...post, body: 0 })).replace(
    '"body":0',
    '"body":{"Memory":9007199254740993}',
  );
  socket.say(exact);
  const { statusCode, headers, body, isBinary } = await answerTo(socket, 'r1', 'response');
  assert.deepEqual([statusCode, headers['X-Twice'], isBinary], [201, 'a', true]);
  assert.equal(Buffer.from(body, 'base64').toString('latin1'), 'caf\xe9', 'what is no UTF-8 comes whole');
  assert.deepEqual(seen[0], { type: 'application/json', body: '{"Memory":9007199254740993}' });
  socket.say(
    request('r2', { ...post, body: Buffer.from('tar\0').toString('base64'), isBinary: true, streaming: true }),
  );
  await answerTo(socket, 'r2', 'stream_end');
  assert.deepEqual(seen[1], { type: 'application/x-tar', body: 'tar\0' }, 'also that of a stream');
});

test("the host's policy holds, and whoever waits is told", async (t) => {
  let asked = 0;
  const options = { allow: ['read-only'] };
  const { socket } = await over(t, (_given, response) => void response.end(String(asked++)), options);
  socket.say(request('r1', { method: 'POST', path: '/containers/x/stop' }));
  const denied = await answerTo(socket, 'r1', 'response');
  assert.equal(denied.statusCode, 403);
  assert.match(JSON.parse(denied.body).message, /this host's policy/);
  socket.say(request('r2', { method: 'POST', path: '/containers/create', streaming: true }));
  assert.match((await answerTo(socket, 'r2', 'error')).message, /this host's policy/);
  await answerTo(socket, 'r2', 'stream_end');
  socket.say({ type: 'exec_start', execId: 'e1', containerId: 'x', cmd: '/bin/sh', user: '', cols: 80, rows: 24 });
  const { code, error, message } = await answerTo(socket, 'e1', 'error');
  assert.deepEqual([code, error], ['EXEC_CREATE_ERROR', message]);
  assert.match(error, /^exec create failed: 403 - /);
  socket.say(
    request('r3', { method: 'POST', path: '/_hawser/compose', body: { operation: 'down', projectName: 'shop' } }),
  );
  const compose = await answerTo(socket, 'r3', 'response');
  assert.equal(compose.statusCode, 500);
  assert.match(JSON.parse(compose.body).error, /stack\.remove/);
  for (const path of ['/containers/../secrets', '//containers/json', '/containers/json\u0000']) {
    socket.say(request(path.length.toString(), { path }));
    assert.equal((await answerTo(socket, path.length.toString(), 'response')).statusCode, 400);
  }
  assert.equal(asked, 0);
});

test('what is typed comes in its order, from before the terminal is there', async (t) => {
  let typed = '';
  const made = await fixture(
    t,
    (given, response) => response.end(given.url?.includes('/json') ? '{"Running":false,"ExitCode":0}' : '{"Id":"e"}'),
    {
      hijacked: async (connection, given) => {
        await text(given);
        connection.on('data', (chunk: Buffer) => {
          typed += chunk.toString();
          if (typed.endsWith('.')) connection.end('bye');
        });
      },
    },
  );
  const { socket } = await openedEdge(t, made);
  socket.say({ type: 'exec_start', execId: 'e1', containerId: 'x', cmd: 'sh', user: '0', cols: 80, rows: 24 });
  const all = Array.from({ length: 400 }, (_, n) => `${n} `);
  for (const key of [...all, '.']) {
    socket.say({ type: 'exec_input', execId: 'e1', data: Buffer.from(key).toString('base64') });
  }
  await answerTo(socket, 'e1', 'exec_end');
  assert.equal(typed, `${all.join('')}.`);
  const types = socket.sent.map(({ type }) => type);
  assert.deepEqual(types, ['exec_ready', 'exec_output', 'exec_end']);
});

test('streams and terminals are so many at most, and one more ends at once', async (t) => {
  const { socket } = await over(t, (_given, response) => void response.write('a log'));
  for (let n = 0; n <= 100; n++) socket.say(request(`s${n}`, { path: LOGS, streaming: true }));
  assert.equal((await answerTo(socket, 's100', 'error')).code, 'SESSION_LIMIT');
  await answerTo(socket, 's100', 'stream_end');
  for (let n = 0; n <= 100; n++) {
    socket.say({ type: 'exec_start', execId: `e${n}`, containerId: 'x', cmd: 'sh', user: '', cols: 0, rows: 0 });
  }
  assert.equal((await answerTo(socket, 'e100', 'error')).code, 'SESSION_LIMIT');
  socket.say({ type: 'stream_end', requestId: 's0', reason: 'cancelled' });
  await answerTo(socket, 's0', 'stream_end');
  socket.say(request('next', { path: LOGS, streaming: true }));
  await answerTo(socket, 'next', 'stream');
});

test('an end that comes right behind its request ends it', async (t) => {
  const { socket } = await over(t, (_given, response) => void response.write('a log'));
  socket.say(request('s', { path: LOGS, streaming: true }));
  socket.say({ type: 'stream_end', requestId: 's', reason: 'cancelled' });
  await answerTo(socket, 's', 'stream_end');
  assert.equal(socket.ofType('stream_end').length, 1);
});

test('the end of the connection ends all that went on by it', async (t) => {
  const connections = new Set<Socket>();
  const made = await fixture(t, (given, response) => {
    connections.add(given.socket);
    given.socket.once('close', () => connections.delete(given.socket));
    response.write('a log');
  });
  const { socket, session } = await openedEdge(t, made);
  for (let n = 0; n < 5; n++) socket.say(request(`s${n}`, { path: LOGS, streaming: true }));
  await waitFor('all streams', () => connections.size === 5 && socket.ofType('stream').length === 5);
  socket.terminate();
  await within(2_000, 'the end of the session', session.settled());
  await waitFor('the end of all calls', () => connections.size === 0);
  assert.equal((await session.closed).code, 'STREAM_INTERRUPTED');
});

test('a server that does not read holds up Docker, and not the memory', async (t) => {
  let written = 0;
  const block = Buffer.alloc(64 * 1024, 'x');
  const { socket } = await over(t, (_given, response) => {
    const more = () => {
      while (written < 200 * block.byteLength) {
        written += block.byteLength;
        if (!response.write(block)) return void response.once('drain', more);
      }
      response.end();
    };
    more();
  });
  socket.isStuck = true;
  socket.bufferedAmount = 2 * 1024 * 1024;
  socket.say(request('s', { path: '/containers/x/export', streaming: true }));
  let before = -1;
  const isStill = () => {
    const still = written > 0 && written === before;
    before = written;
    return still;
  };
  await waitFor('Docker to be held up', isStill, { everyMs: 200 });
  assert.ok(written < 150 * block.byteLength, `${written} bytes`);
  assert.equal(socket.ofType('stream').length, 1);
  socket.say({ type: 'ping', timestamp: 1 });
  assert.equal(socket.ofType('pong').length, 0, 'nor is it sent what nobody waits for');
  socket.unstick();
  await answerTo(socket, 's', 'stream_end');
  const bytes = socket.ofType('stream').reduce((sum, { data }) => sum + Buffer.from(data, 'base64').byteLength, 0);
  assert.equal(bytes, 200 * block.byteLength);
});

test('an answer that does not fit into a message says so, and one that takes too long', async (t) => {
  const clock = new FakeClock();
  let isAsked = false;
  const { socket } = await over(
    t,
    (given, response) => {
      if (given.url === '/images/x/get') response.end(Buffer.alloc(26 * 1024 * 1024));
      else isAsked = true;
    },
    { clock },
  );
  socket.say(request('large', { path: '/images/x/get' }));
  const large = await answerTo(socket, 'large', 'response');
  assert.equal(large.statusCode, 413);
  assert.match(JSON.parse(large.body).message, /ask for it as a stream/);
  socket.say(request('slow'));
  await waitFor('the call', () => isAsked);
  for (let at = 0; at < 300; at += 60) {
    clock.advance(60_000);
    socket.say({ type: 'ping', timestamp: 1 });
  }
  assert.equal((await answerTo(socket, 'slow', 'response')).statusCode, 504);
});

test('Compose tells each line as it comes, where that is asked for', async (t) => {
  const made = await fixture(t, (_given, response) => response.end('{}'));
  made.stacks.lines = ['one', 'two'];
  const { socket } = await openedEdge(t, made);
  const body = { operation: 'up', projectName: 'shop', composeFile: 'services: {}', streamOutput: true };
  socket.say(request('c', { method: 'POST', path: '/_hawser/compose', body }));
  const { statusCode, body: reply } = await answerTo(socket, 'c', 'response');
  assert.deepEqual([statusCode, JSON.parse(reply).output], [200, 'one\ntwo\n']);
  const lines = socket.ofType('stream').map(({ data }) => Buffer.from(data, 'base64').toString());
  assert.deepEqual(lines, ['one\n', 'two\n']);
});

test('a server that is silent, or welcomes nobody, or says what is no message, is left', async (t) => {
  const clock = new FakeClock();
  const made = await fixture(t, (_given, response) => response.end(), { clock });
  const silent = await openedEdge(t, made);
  for (let n = 0; n < 12; n++) clock.advance(7_500);
  assert.equal((await silent.session.closed).code, 'TIMEOUT');
  assert.equal(silent.socket.ofType('ping').length, 2);
  assert.ok(silent.socket.ofType('ping')[0].timestamp < 1e10, 'in seconds');

  const rude = await openedEdge(t, made, { isWelcome: false });
  clock.advance(30_000);
  assert.equal(await rude.session.welcomed, false);

  const odd = await openedEdge(t, made);
  odd.socket.say({ type: 'something_new' });
  for (let n = 0; n < 19; n++) odd.socket.say('{"type":"request"}');
  odd.socket.say(request('fine'));
  await answerTo(odd.socket, 'fine', 'response');
  odd.socket.say({ type: 'request', requestId: 'bad', method: 7 });
  assert.equal((await odd.session.closed).code, 'PROTOCOL_ERROR');

  const refusing = await openedEdge(t, made, { isWelcome: false });
  refusing.socket.say({ type: 'ping', timestamp: 1 });
  refusing.socket.say({ type: 'error', message: 'Reconnection throttled', retryAfter: 60 });
  assert.equal(await refusing.session.welcomed, false);
  const end = await refusing.session.closed;
  assert.deepEqual([end.code, end.retryAfterMs], ['REFUSED', 60_000]);
  assert.match(end.reason, /Reconnection throttled/);
});

test('whatever a server says, the session goes on or ends, and the agent lives', async (t) => {
  const made = await fixture(t, (_given, response) => response.end('{}'));
  const values = [
    undefined,
    null,
    '',
    'x',
    7,
    -1,
    Number.MAX_VALUE,
    true,
    [],
    {},
    [{}],
    'a'.repeat(70_000),
    '../..',
    '\u0000',
  ];
  const fields = [
    'requestId',
    'execId',
    'method',
    'path',
    'headers',
    'body',
    'data',
    'cols',
    'containerId',
    'isBinary',
  ];
  const types = [
    'request',
    'stream_end',
    'exec_start',
    'exec_input',
    'exec_resize',
    'exec_end',
    'error',
    'welcome',
    'ping',
  ];
  const good = {
    ...{
      requestId: 'r',
      execId: 'e',
      method: 'GET',
      path: '/x',
      containerId: 'c',
      cmd: 'sh',
      user: '',
      cols: 1,
      rows: 1,
    },
    data: '',
  };
  for (const type of types) {
    for (const field of fields) {
      const { session, socket } = await openedEdge(t, made);
      for (const value of values) socket.say({ type, ...good, [field]: value });
      socket.say({ type: 'ping', timestamp: 1 });
      assert.ok(session.ending.aborted || socket.ofType('pong').length > 0, `${type} ${field}`);
      session.close(1000, 'SHUTDOWN', 'the next one');
      await within(5_000, `the end of ${type} ${field}`, session.settled());
    }
  }
  const unexpected = made.lines.filter((line) => /unexpectedly|could not be handled/.test(line));
  assert.deepEqual(unexpected, []);
});
