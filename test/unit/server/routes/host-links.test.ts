/** What a host denies is in the audit log, whichever route asked for it, and nobody can fill the log by asking again. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FairleadError } from '../../../../shared/errors.ts';
import { STREAM_KINDS } from '../../../../shared/messages/index.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { waitFor } from '../../../support/wait.ts';
import { HOST } from './fake-host.ts';
import { as, ask, type FixtureOptions, fixture, listen } from './fakes.ts';

const BASE = '/api/v1/hosts/edge-1';
const denial = () => new FairleadError('DENIED_BY_HOST', "this host's policy does not allow it");
const ALL_DENIED = Object.fromEntries(STREAM_KINDS.map(({ name }) => [name, () => Promise.reject(denial())]));

async function denying(overrides: FixtureOptions['overrides'] = {}) {
  const made = await fixture({ answers: ALL_DENIED, overrides });
  const rows = () => made.audit.filter(({ action }) => action !== 'login');
  return { ...made, rows };
}

/** Method, path, the row's action and target, and a body where one is needed. */
const ROUTES: [
  method: 'GET' | 'POST' | 'PUT' | 'DELETE',
  path: string,
  action: string,
  target: string,
  body?: object,
][] = [
  ['GET', `${BASE}/info`, 'host.info', 'edge-1'],
  ['POST', `${BASE}/throughput`, 'host.throughput', 'edge-1'],
  ['GET', `${BASE}/metrics/latest?fresh=1`, 'host.metrics', 'edge-1'],
  ['GET', `${BASE}/stats`, 'host.stats', 'edge-1'],
  ['GET', `${BASE}/containers`, 'container.list', 'edge-1'],
  ['GET', `${BASE}/containers/web`, 'container.inspect', 'edge-1/web'],
  ['GET', `${BASE}/containers/web/top`, 'container.top', 'edge-1/web'],
  ['GET', `${BASE}/containers/web/stats`, 'container.stats', 'edge-1/web'],
  ['GET', `${BASE}/containers/web/logs`, 'container.log.stream', 'edge-1/web'],
  ['POST', `${BASE}/containers/web/start`, 'container.start', 'edge-1/web'],
  ['POST', `${BASE}/containers/web/stop`, 'container.stop', 'edge-1/web'],
  ['POST', `${BASE}/containers/web/restart`, 'container.restart', 'edge-1/web'],
  ['POST', `${BASE}/containers/web/kill`, 'container.kill', 'edge-1/web'],
  ['POST', `${BASE}/containers/web/pause`, 'container.pause', 'edge-1/web'],
  ['POST', `${BASE}/containers/web/unpause`, 'container.unpause', 'edge-1/web'],
  ['DELETE', `${BASE}/containers/web`, 'container.remove', 'edge-1/web'],
  ['POST', `${BASE}/containers?name=db`, 'container.create', 'edge-1/db', { Image: 'x' }],
  ['POST', `${BASE}/containers/web/rename`, 'container.rename', 'edge-1/web', { name: 'db' }],
  ['POST', `${BASE}/containers/prune`, 'container.prune', 'edge-1'],
  ['GET', `${BASE}/images`, 'image.list', 'edge-1'],
  ['GET', `${BASE}/images/a%2Fb:1`, 'image.inspect', 'edge-1/a/b:1'],
  ['DELETE', `${BASE}/images/a%2Fb:1`, 'image.remove', 'edge-1/a/b:1'],
  ['POST', `${BASE}/images/a%2Fb:1/tag`, 'image.tag', 'edge-1/a/b:1', { repo: 'c' }],
  ['POST', `${BASE}/images/prune`, 'image.prune', 'edge-1'],
  ['GET', `${BASE}/containers/web/archive?path=/etc`, 'container.archive.get', 'edge-1/web'],
  ['PUT', `${BASE}/containers/web/archive?path=/etc`, 'container.archive.put', 'edge-1/web', Buffer.from('a tar')],
  ['POST', `${BASE}/images/pull`, 'image.pull', 'edge-1/a/b:1', { reference: 'a/b:1' }],
  ['GET', `${BASE}/images/a%2Fb:1/archive`, 'image.save', 'edge-1/a/b:1'],
  ['POST', `${BASE}/images/load`, 'image.load', 'edge-1', Buffer.from('a tar')],
  ['GET', `${BASE}/networks`, 'network.list', 'edge-1'],
  ['GET', `${BASE}/networks/lan`, 'network.inspect', 'edge-1/lan'],
  ['POST', `${BASE}/networks`, 'network.create', 'edge-1/lan', { Name: 'lan' }],
  ['DELETE', `${BASE}/networks/lan`, 'network.remove', 'edge-1/lan'],
  ['POST', `${BASE}/networks/lan/connect`, 'network.connect', 'edge-1/lan', { Container: 'web' }],
  ['POST', `${BASE}/networks/lan/disconnect`, 'network.disconnect', 'edge-1/lan', { Container: 'web' }],
  ['POST', `${BASE}/networks/prune`, 'network.prune', 'edge-1'],
  ['GET', `${BASE}/volumes`, 'volume.list', 'edge-1'],
  ['GET', `${BASE}/volumes/data`, 'volume.inspect', 'edge-1/data'],
  ['POST', `${BASE}/volumes`, 'volume.create', 'edge-1/data', { Name: 'data' }],
  ['DELETE', `${BASE}/volumes/data`, 'volume.remove', 'edge-1/data'],
  ['POST', `${BASE}/volumes/prune`, 'volume.prune', 'edge-1'],
  ['GET', `${BASE}/volumes/v/files`, 'volume.browse', 'edge-1/v'],
  ['GET', `${BASE}/volumes/v/archive`, 'volume.export', 'edge-1/v'],
  ['PUT', `${BASE}/volumes/v/archive`, 'volume.import', 'edge-1/v', Buffer.from('a tar')],
  ['GET', `${BASE}/stacks`, 'stack.list', 'edge-1'],
  ['GET', `${BASE}/stacks/web`, 'stack.status', 'edge-1'],
  ['GET', `${BASE}/stacks/web/logs`, 'stack.logs', 'edge-1'],
  ['PUT', `${BASE}/stacks/web`, 'stack.deploy', 'edge-1/web', { compose: 'services: {web: {image: x}}' }],
  ['DELETE', `${BASE}/stacks/web`, 'stack.remove', 'edge-1/web'],
  ['POST', `${BASE}/stacks/web/start`, 'stack.start', 'edge-1/web'],
  ['POST', `${BASE}/stacks/web/stop`, 'stack.stop', 'edge-1/web'],
  ['POST', `${BASE}/stacks/web/restart`, 'stack.restart', 'edge-1/web'],
  ['POST', `${BASE}/stacks/web/pull`, 'stack.pull', 'edge-1/web'],
  ['POST', `${BASE}/stacks/web/scale`, 'stack.scale', 'edge-1/web', { services: { web: 2 } }],
  ['GET', `${BASE}/docker/v1.41/networks/lan`, 'network.inspect', 'edge-1/lan'],
  ['POST', `${BASE}/docker/networks/prune`, 'network.prune', 'edge-1'],
];

/** What becomes a WebSocket, or has a name of its own in the audit log. */
const SOCKETS = ['container.exec.open', 'container.exec.run', 'container.attach', 'tcp.open'];

test('each route that a host can deny leaves one row, reads as well as changes', async (t) => {
  const made = await denying({ limits: { refusedLoginsPerMinute: 100 } });
  const { api, rows } = made;
  t.after(() => api.close());
  const base = await listen(made);
  const refusal = async (method: (typeof ROUTES)[number][0], url: string, body?: object): Promise<unknown[]> => {
    const headers = as('operator');
    if (Buffer.isBuffer(body)) {
      // What is not read to its end needs a real connection.
      const type = { 'content-type': 'application/x-tar' };
      const answer = await fetch(`${base}${url}`, {
        method,
        headers: { ...headers, ...type },
        body: new Uint8Array(body),
      });
      return [answer.status, ((await answer.json()) as { code: string }).code];
    }
    const answer = await ask(api, { method, url, headers, ...(body === undefined ? {} : { payload: body }) });
    return [answer.statusCode, answer.json().code];
  };
  for (const [method, url, action, target, body] of ROUTES) {
    const before = rows().length;
    assert.deepEqual(await refusal(method, url, body), [403, 'DENIED_BY_HOST'], url);
    const [row, ...more] = rows().slice(before);
    assert.deepEqual(more, []);
    const { detail, ...rest } = row ?? assert.fail(`${url} left no row`);
    assert.deepEqual(rest, { actor: 'the-operator', address: '127.0.0.1', action, target, result: 'refused' });
    assert.equal(detail?.['code'], 'DENIED_BY_HOST');
  }
  // What becomes a WebSocket is denied below; what is behind /docker/ stands for calls of many names; transfers
  // and events are asked for by no request.
  const opened = STREAM_KINDS.filter(
    ({ from, name }) =>
      from !== 'agent' && !SOCKETS.includes(name) && !/^(docker\.|volume\.transfer\.|host\.events$)/.test(name),
  );
  const actions = ROUTES.filter(([, url]) => !url.includes('/docker/')).map(([, , action]) => action);
  assert.deepEqual(actions.toSorted(), opened.map(({ name }) => name).toSorted());
});

test('a question to all hosts leaves a row for each that denies it, and answers with the rest', async (t) => {
  const { api, rows } = await denying();
  t.after(() => api.close());
  const answer = await ask(api, { url: '/api/v1/containers', headers: as('viewer') });
  assert.equal(answer.json().unreachable[0].code, 'DENIED_BY_HOST');
  assert.deepEqual(
    rows().map(({ actor, action, target }) => [actor, action, target]),
    [['the-viewer', 'container.list', HOST.id]],
  );
});

test('an exec that is denied is an answer, and a row with its command', async (t) => {
  const made = await denying();
  t.after(() => made.api.close());
  const url = await listen(made);
  const headers = {
    ...as('operator'),
    connection: 'upgrade',
    upgrade: 'websocket',
    'sec-websocket-version': '13',
    'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
  };
  const { request } = await import('node:http');
  const status = await new Promise((resolve, reject) => {
    const asked = request(`${url}${BASE}/containers/web/exec?cmd=id`, { headers, agent: false }, (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    asked
      .on('upgrade', () => reject(new Error('it became a WebSocket')))
      .on('error', reject)
      .end();
  });
  assert.equal(status, 403);
  assert.deepEqual(
    made.rows().map(({ action, target, result, detail }) => [action, target, result, detail]),
    [['container.exec', 'edge-1/web', 'refused', { cmd: ['id'], tty: false, code: 'DENIED_BY_HOST' }]],
  );
});

test('what is denied once a stream has begun is written down too', async (t) => {
  const made = await fixture({ answers: { 'container.log.stream': () => ({ tty: false }) } });
  t.after(() => made.api.close());
  const reading = ask(made.api, { url: `${BASE}/containers/web/logs`, headers: as('viewer') }).catch(() => undefined);
  await waitFor('the stream', () => made.host.asked[0]);
  made.host.asked[0]?.stream.interrupt(denial());
  await reading;
  await waitFor('the row', () => made.audit.find(({ action }) => action === 'container.log.stream'));
});

test('a loop gets its rows up to the limit, then one a minute that counts the rest, and the same answer always', async (t) => {
  const clock = new FakeClock();
  const { api, rows } = await denying({ clock, limits: { refusedLoginsPerMinute: 3 } });
  t.after(() => api.close());
  for (let i = 0; i < 10; i++) {
    const method = i % 2 === 0 ? 'GET' : 'DELETE';
    const answer = await ask(api, { method, url: `${BASE}/containers/web`, headers: as('operator') });
    assert.deepEqual([answer.statusCode, answer.json().code], [403, 'DENIED_BY_HOST']);
  }
  assert.equal(rows().length, 3);
  clock.advance(60_000);
  assert.deepEqual(rows().slice(3), [
    { actor: 'system', action: 'host.denied', result: 'refused', detail: { suppressed: 7 } },
  ]);
});
