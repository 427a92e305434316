/** What fails in doubt says whether it may be asked again; what is asked again by its key acts once, or says that nobody knows. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ErrorCode, FairleadError } from '../../../../shared/errors.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { HOST } from './fake-host.ts';
import { as, ask, fixture } from './fakes.ts';

const BASE = '/api/v1/hosts/edge-1/containers';
const KEY = { 'idempotency-key': 'k1' };

interface Call {
  method: 'GET' | 'POST' | 'DELETE';
  url: string;
  headers?: object;
}

async function failing(code: ErrorCode) {
  const fail = () => {
    throw new FairleadError(code, 'it failed');
  };
  const kinds = ['inspect', 'list', 'kill', 'start', 'remove', 'create', 'prune'];
  const answers = Object.fromEntries(kinds.map((kind) => [`container.${kind}`, fail]));
  return await fixture({ answers });
}

test('reads may be asked again, changes by their key, and of the rest nobody knows', async (t) => {
  const cases: [call: Call, repeat: string, sentence: RegExp][] = [
    [{ method: 'GET', url: `${BASE}/web` }, 'safe', /^it failed; it may be asked again$/],
    [{ method: 'GET', url: `${BASE}/web`, headers: KEY }, 'safe', /may be asked again/],
    [{ method: 'POST', url: `${BASE}/web/kill`, headers: KEY }, 'with-key', /the same Idempotency-Key/],
    [{ method: 'POST', url: `${BASE}/web/kill` }, 'unknown', /look before you repeat/],
    [{ method: 'DELETE', url: `${BASE}/web` }, 'safe', /may be asked again/],
  ];
  for (const code of ['STREAM_INTERRUPTED', 'TIMEOUT'] as const) {
    const { api } = await failing(code);
    t.after(() => api.close());
    for (const [{ headers, ...call }, repeat, sentence] of cases) {
      const answer = (await ask(api, { ...call, headers: { ...as('operator'), ...headers } })).json();
      assert.deepEqual([answer.code, answer.repeat], [code, repeat], call.url);
      assert.match(answer.detail, sentence);
    }
    const { unreachable } = (await ask(api, { url: '/api/v1/containers', headers: as('viewer') })).json();
    assert.deepEqual([unreachable[0].code, unreachable[0].repeat], [code, 'safe']);
  }
});

test('a host that was sent nothing may be asked again; what the code decides says nothing of it', async (t) => {
  const { api } = await fixture({ hosts: [{ ...HOST, state: 'offline' }] });
  t.after(() => api.close());
  const offline = (await ask(api, { method: 'POST', url: `${BASE}/web/kill`, headers: as('operator') })).json();
  assert.deepEqual([offline.code, offline.repeat], ['HOST_OFFLINE', 'safe']);
  const { api: denying } = await failing('DENIED_BY_HOST');
  t.after(() => denying.close());
  const denied = (await ask(denying, { method: 'POST', url: `${BASE}/web/kill`, headers: as('operator') })).json();
  assert.deepEqual([denied.code, 'repeat' in denied], ['DENIED_BY_HOST', false]);
});

test('after a lost answer an agent that was restarted is sent only what finds itself done', async (t) => {
  let isLost = true;
  const answer = () => {
    if (isLost) throw new FairleadError('STREAM_INTERRUPTED', 'lost');
    return {};
  };
  const clock = new FakeClock();
  const { api, host } = await fixture({
    answers: { 'container.kill': answer, 'container.stop': answer },
    overrides: { clock },
  });
  t.after(() => api.close());
  const call = async (verb: string, key: string) => {
    const headers = { ...as('operator'), 'idempotency-key': key };
    return await ask(api, { method: 'POST', url: `${BASE}/web/${verb}`, headers });
  };
  for (const verb of ['kill', 'stop']) assert.equal((await call(verb, verb)).json().repeat, 'with-key');
  isLost = false;
  // The same process of the agent knows what became of it.
  assert.equal((await call('kill', 'kill')).statusCode, 204);
  (host as { instanceId: string }).instanceId = 'process-2';
  assert.equal((await call('stop', 'stop')).statusCode, 204);
  assert.equal((await call('kill', 'another')).statusCode, 204);
  const asked = host.asked.length;
  const refused = (await call('kill', 'kill')).json();
  assert.deepEqual([refused.code, refused.repeat], ['STREAM_INTERRUPTED', 'unknown']);
  assert.match(refused.detail, /restarted since.*look before you repeat/);
  assert.equal(host.asked.length, asked);
  clock.advance(11 * 60_000);
  assert.equal((await call('kill', 'kill')).statusCode, 204);
});
