/** What a session of Edge mode holds of what its server sends, and of what that does not read, whatever the server does. */
import assert from 'node:assert/strict';
import type { RequestListener } from 'node:http';
import type { Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { waitFor, within } from '../../../support/wait.ts';
import type { FakeSocket, Message } from '../../server/hawser/fake-socket.ts';
import { openedEdge } from './edge-fixture.ts';
import { fixture } from './fixture.ts';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

const MIB = 1024 * 1024;
const BODY_BYTES = 8 * MIB;
const STREAMS = 20;
const FILLER = 'x'.repeat(BODY_BYTES);

async function over(t: TestContext, answer: RequestListener) {
  return await openedEdge(t, await fixture(t, answer));
}

/** A stream of events whose request has a large body, which Docker has no use for. */
function large(requestId: string): string {
  const head = { type: 'request', requestId, method: 'GET', path: '/events', streaming: true };
  return `${JSON.stringify(head).slice(0, -1)},"body":"${FILLER}"}`;
}

function answersTo(socket: FakeSocket, id: string, type: string): Message[] {
  return socket.ofType(type).filter(({ requestId }) => requestId === id);
}

test('of large bodies that Docker does not take so many are held, and one more is refused', async (t) => {
  let open = 0;
  // The body is left where it is.
  const { socket } = await over(t, (given, response) => {
    open++;
    given.socket.once('close', () => open--);
    response.write('an event');
  });
  for (let n = 0; n < STREAMS; n++) socket.say(large(`s${n}`));
  const refused = socket.ofType('error');
  assert.deepEqual([...new Set(refused.map(({ code }) => code))], ['SESSION_LIMIT']);
  assert.equal(refused.length, STREAMS - Math.floor((96 * MIB) / BODY_BYTES) + 1, 'with its quotes a body is larger');
  for (const { requestId } of refused) assert.equal(answersTo(socket, requestId, 'stream_end').length, 1);
  await waitFor('all that is not refused', () => open === STREAMS - refused.length);
  socket.say({ type: 'request', requestId: 'small', method: 'GET', path: '/events', streaming: true });
  await waitFor('one without a body', () => answersTo(socket, 'small', 'stream').length > 0);
  socket.say({ type: 'stream_end', requestId: 's0', reason: 'cancelled' });
  await waitFor('the end of one', () => answersTo(socket, 's0', 'stream_end').length > 0);
  await turn();
  socket.say(large('next'));
  assert.equal(answersTo(socket, 'next', 'error').length, 0, 'what has ended is held no longer');
});

test('a stream holds nothing of its request once Docker has taken that', async (t) => {
  let taken = 0;
  const { socket } = await over(t, (given, response) => {
    given.on('data', (chunk: Buffer) => {
      taken += chunk.byteLength;
    });
    given.once('end', () => response.write('an event'));
  });
  const used = () => {
    collectGarbage();
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
  };
  const before = used();
  for (let n = 0; n < STREAMS; n++) {
    socket.say(large(`s${n}`));
    await waitFor(`stream ${n}`, () => answersTo(socket, `s${n}`, 'stream').length > 0);
  }
  assert.deepEqual(socket.ofType('error'), []);
  assert.deepEqual(socket.ofType('stream_end'), [], 'all of them go on');
  assert.equal(taken, STREAMS * (BODY_BYTES + 2));
  const grown = used() - before;
  assert.ok(grown < 4 * BODY_BYTES, `${Math.round(grown / MIB)} MiB`);
});

test('headers, and a request to Compose, are so large at most', async (t) => {
  const { socket } = await over(t, (_given, response) => void response.end('{}'));
  const asked = { type: 'request', method: 'POST', streaming: false };
  socket.say({ ...asked, requestId: 'h', path: '/containers/create', headers: { 'X-Long': 'x'.repeat(64 * 1024) } });
  const body = { operation: 'up', projectName: 'shop', composeFile: FILLER };
  socket.say({ ...asked, requestId: 'c', path: '/_hawser/compose', body });
  await turn();
  const statusOf = (id: string) => answersTo(socket, id, 'response')[0]?.statusCode;
  assert.deepEqual([statusOf('h'), statusOf('c')], [413, 413]);
});

test('a server that goes on to ask and never reads is left', async (t) => {
  const { socket, session } = await over(t, (_given, response) => void response.write('a log'));
  socket.say({ type: 'request', requestId: 's', method: 'GET', path: '/events', streaming: true });
  await waitFor('the stream', () => answersTo(socket, 's', 'stream').length > 0);
  socket.setMaxListeners(0);
  socket.isStuck = true;
  const again = JSON.stringify({ type: 'request', requestId: 's', method: 'GET', path: '/events' });
  let asked = 0;
  while (!session.ending.aborted && asked < 200_000) {
    socket.say(again);
    asked++;
  }
  assert.ok(session.ending.aborted, `${asked} answers wait`);
  assert.ok(asked > 10_000, 'not before');
  assert.equal((await session.closed).code, 'OVERLOADED');
  await within(2_000, 'the end of the session', session.settled());
});

test('a server that reads slowly is not left for the size of its answers', async (t) => {
  const { socket, session } = await over(t, (_given, response) => void response.end(Buffer.alloc(20 * MIB)));
  socket.isStuck = true;
  socket.bufferedAmount = 54 * MIB;
  for (const requestId of ['r1', 'r2']) {
    socket.say({ type: 'request', requestId, method: 'GET', path: '/images/x/get', streaming: false });
  }
  await waitFor('both answers', () => socket.ofType('response').length === 2);
  socket.say({ type: 'request', requestId: 'r1', method: 'GET', path: '/images/x/get' });
  assert.equal(answersTo(socket, 'r1', 'error').length, 1);
  assert.equal(session.ending.aborted, false);
  socket.unstick();
});

const terminal = (execId: string) => ({
  ...{ type: 'exec_start', execId, containerId: 'x', cmd: 'sh', user: '', cols: 80, rows: 24 },
});

test('so much waits for terminals at most, one by one and together, however small its parts are', async (t) => {
  // Docker is asked for the exec, and does not answer.
  const { socket } = await over(t, () => undefined);
  const ended = () => socket.ofType('exec_end').map(({ execId }) => execId);
  socket.say(terminal('keys'));
  const key = JSON.stringify({ type: 'exec_input', execId: 'keys', data: '' });
  for (let n = 0; n < 10_000; n++) socket.say(key);
  await waitFor('the end of the one that is typed into', () => ended().includes('keys'));

  const data = Buffer.alloc(3 * MIB).toString('base64');
  for (let n = 0; n < STREAMS; n++) {
    socket.say(terminal(`e${n}`));
    socket.say({ type: 'exec_input', execId: `e${n}`, data });
  }
  await waitFor('the end of those that are too many', () => ended().length === 1 + STREAMS - 10);
});

test('what a process does not read counts, however small its parts are', async (t) => {
  let opened: Socket | undefined;
  const made = await fixture(
    t,
    (given, response) => response.end(given.url?.includes('/json') ? '{"Running":false,"ExitCode":0}' : '{"Id":"e"}'),
    {
      hijacked: (connection) => {
        opened = connection.pause();
      },
    },
  );
  const { socket } = await openedEdge(t, made);
  socket.say(terminal('e'));
  await waitFor('the terminal', () => opened !== undefined && socket.ofType('exec_ready').length > 0);
  const key = JSON.stringify({ type: 'exec_input', execId: 'e', data: 'eA==' });
  for (let n = 0; n < 10_000; n++) socket.say(key);
  await waitFor('its end', () => socket.ofType('exec_end').length > 0);
  assert.match(answersTo(socket, 'e', 'error')[0]?.message, /does not read what is typed/);
});
