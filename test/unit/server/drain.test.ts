/** The stop of the server as requests see it. */
import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import type { ServerResponse } from 'node:http';
import { test } from 'node:test';
import { Drain } from '../../../server/drain.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { ask, fixture } from './routes/fakes.ts';

const aResponse = () => new EventEmitter() as ServerResponse;

test('it waits for what is in progress, and no longer', async () => {
  const drain = new Drain(new FakeClock());
  assert.equal(await drain.idle(1_000), true, 'nothing is');
  const [one, other] = [aResponse(), aResponse()];
  drain.count(one);
  drain.count(other);
  const idle = drain.idle(1_000);
  one.emit('close');
  assert.equal(drain.inProgress, 1);
  other.emit('close');
  assert.equal(await idle, true);
});

test('it does not wait for ever', async () => {
  const clock = new FakeClock();
  const drain = new Drain(clock);
  drain.count(aResponse());
  const idle = drain.idle(1_000);
  clock.advance(1_000);
  assert.equal(await idle, false);
  assert.deepEqual([drain.inProgress, clock.pendingTimers], [1, 0]);
});

test('its beginning is told once', () => {
  const drain = new Drain(new FakeClock());
  let told = 0;
  drain.onBegin(() => {
    told += 1;
  });
  assert.equal(drain.isUnderWay, false);
  drain.begin();
  drain.begin();
  assert.deepEqual([drain.isUnderWay, told], [true, 1]);
});

test('a server that stops refuses new requests with 503, when to come back, and that nothing was begun', async (t) => {
  const { api, deps } = await fixture();
  t.after(() => api.close());
  deps.drain.begin();
  for (const url of [
    '/api/v1/hosts',
    '/api/v1/hosts/edge-1/docker/containers/json',
    '/ca.pem',
    '/metrics',
    '/nowhere',
  ]) {
    const answer = await ask(api, { url, headers: { authorization: `Bearer admin` } });
    const { code, repeat, retryAfter } = answer.json();
    assert.deepEqual([answer.statusCode, code, repeat, retryAfter], [503, 'SHUTDOWN', 'safe', 5], url);
    assert.equal(answer.headers['retry-after'], '5', url);
    assert.equal(answer.headers.connection, 'close', url);
  }
});

test('a server that stops is alive and not ready, whatever else works', async (t) => {
  const { api, deps } = await fixture();
  t.after(() => api.close());
  assert.equal((await ask(api, '/readyz')).statusCode, 200);
  deps.drain.begin();
  const ready = await ask(api, '/readyz');
  assert.equal(ready.statusCode, 503);
  assert.equal(ready.json().ready, false);
  assert.deepEqual(ready.json().checks.stopping, { ok: false, detail: 'the server is stopping' });
  assert.equal((await ask(api, '/healthz')).statusCode, 200);
});
