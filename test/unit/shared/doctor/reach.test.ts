/** Where the way to a place stops. */
import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { type Place, reach } from '../../../../shared/doctor/reach.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import { UnreachableError } from '../../../../shared/pinned-http.ts';
import { type Cleanup, defer } from '../../../support/tmp.ts';

async function aListener(cleanup: Cleanup): Promise<number> {
  const listener = createServer((socket) => socket.on('error', () => undefined));
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  defer(cleanup, () => listener.close());
  return (listener.address() as { port: number }).port;
}

const place = (port: number, more: Partial<Place> = {}): Place => ({
  ...{ id: 'x', what: 'the place', host: '127.0.0.1', port },
  ask: async () => ({ status: 200, detail: 'it' }),
  isGood: (status) => status === 200,
  ...more,
});

const levels = async (it: Place) => (await reach(it)).checks.map(({ id, level }) => `${id} ${level}`);

test('a place that answers is reached in four steps', async (t) => {
  const { checks, answer } = await reach(place(await aListener(t)));
  assert.deepEqual(
    checks.map(({ id }) => id),
    ['x.name', 'x.tcp', 'x.tls', 'x.answer'],
  );
  assert.ok(checks.every(({ level }) => level === 'ok'));
  assert.equal(answer?.status, 200);
});

test('nothing is asked behind the step that fails', async (t) => {
  const port = await aListener(t);
  const never = async () => assert.fail('it was asked');
  assert.deepEqual(await levels(place(port, { host: 'no-such-host.invalid', ask: never })), ['x.name fail']);
  assert.deepEqual(await levels(place(1, { ask: never })), ['x.name ok', 'x.tcp fail']);
});

test('TLS, an answer that breaks off, and a refusal are told apart', async (t) => {
  const port = await aListener(t);
  const failing = (error: Error) => levels(place(port, { ask: () => Promise.reject(error) }));
  const way = ['x.name ok', 'x.tcp ok'];
  assert.deepEqual(await failing(new UnreachableError('tls', 'another CA')), [...way, 'x.tls fail']);
  assert.deepEqual(await failing(new UnreachableError('closed', 'it closed')), [...way, 'x.answer fail']);
  assert.deepEqual(await failing(new FairleadError('SHUTDOWN', 'it stops')), [...way, 'x.answer fail']);
});

test('an answer that is none of a server that works has advice', async (t) => {
  const { checks } = await reach(place(await aListener(t), { ask: async () => ({ status: 503 }) }));
  const last = checks.at(-1);
  assert.deepEqual([last?.id, last?.level], ['x.answer', 'fail']);
  assert.match(last?.advice ?? '', /starting, stopping/);
});

test('behind a proxy nothing is resolved or dialled here', async () => {
  const { checks } = await reach(place(1, { host: 'inside.invalid', proxy: 'proxy:3128' }));
  assert.deepEqual(
    checks.map(({ id, level }) => `${id} ${level}`),
    ['x.tls ok', 'x.answer ok'],
  );
  assert.match(checks[0]?.summary ?? '', /through the proxy proxy:3128/);
});
