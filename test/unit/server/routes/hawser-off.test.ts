/** A server that takes no agents of Hawser: their WebSocket is refused before it is one, and the status says why. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { type TestContext, test } from 'node:test';
import { WebSocket } from 'ws';
import { as, ask, fakeDeps, fixture, listen } from './fakes.ts';

const WHY = /--hawser on/;

async function off(t: TestContext) {
  const { deps } = fakeDeps();
  const made = await fixture({ overrides: { hawser: { ...deps.hawser, edge: undefined } } });
  t.after(() => made.api.close());
  return made;
}

for (const where of ['/api/hawser/connect', '/api/hawser/edge']) {
  test(`a WebSocket at ${where} is refused where agents of Hawser may not connect`, async (t) => {
    const made = await off(t);
    const ws = new WebSocket(`${(await listen(made)).replace('http', 'ws')}${where}`);
    t.after(() => ws.terminate());
    ws.on('error', () => undefined);
    const [, response] = (await once(ws, 'unexpected-response')) as [unknown, IncomingMessage];
    assert.equal(response.statusCode, 404);
    const body = JSON.parse(String(Buffer.concat(await response.toArray())));
    assert.equal(body.code, 'NOT_FOUND');
    assert.match(body.detail, WHY);
    assert.ok(!made.calls.some(({ name, args }) => name === 'metrics' && args[2] === 101), 'no upgrade is counted');
  });
}

test('the status says off and how to change that, and on a server that takes them that it is ready', async (t) => {
  const { api } = await off(t);
  const answer = await ask(api, { url: '/api/hawser/connect', headers: as('viewer') });
  assert.equal(answer.statusCode, 200, answer.body);
  const { message, ...status } = answer.json();
  assert.match(message, WHY);
  assert.deepEqual([status.status, status.activeConnections, status.connections], ['off', 0, []]);
  const on = await fixture();
  t.after(() => on.api.close());
  const ready = await ask(on.api, { url: '/api/hawser/connect', headers: as('viewer') });
  assert.equal(ready.json().status, 'ready');
});
