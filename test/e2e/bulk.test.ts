/** A fleet of three hosts: found by tag and state, renamed under way, and acted on at once. */
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { type CliRun, runCliHere } from '../support/cli.ts';
import { dockerApi, testContainer } from '../support/docker.ts';
import type { Launched } from '../support/launcher.ts';
import { addHost, type Server, startServer, waitForState } from '../support/mesh.ts';
import { fileCleanup } from '../support/tmp.ts';

const shared = fileCleanup();
let server: Server;
let third: Launched;

before(async () => {
  server = await startServer(shared);
  const added = await Promise.all(['one', 'two', 'three'].map((name) => addHost(shared, server, name)));
  third = (added[2] ?? assert.fail()).process;
});

async function cli(...args: string[]): Promise<CliRun> {
  const env = { FAIRLEAD_SERVER: server.runtime.apiUrl, FAIRLEAD_API_TOKEN: server.adminToken, HOME: server.dataDir };
  return await runCliHere(args, { env });
}

const stateOf = async (id: string) => (await dockerApi('GET', `/containers/${id}/json`)).body.State;

test('hosts are found by tag and state, and a name is one host’s in any case', async () => {
  for (const name of ['one', 'two']) assert.equal((await cli('host', 'tag', name, '--add', 'edge')).exit.code, 0);
  const names = async (...args: string[]) =>
    JSON.parse((await cli('host', 'ls', '--json', ...args)).stdout).map(({ name }: { name: string }) => name);
  assert.deepEqual(await names('--tag', 'edge', '--state', 'online'), ['one', 'two']);
  assert.deepEqual(await names('--name', 'T*'), ['three', 'two']);
  assert.match((await cli('host', 'rename', 'two', 'ONE')).stderr, /CONFLICT/);
});

test('a bulk action touches what is meant on the hosts that are meant, once, and is in the audit log', async (t) => {
  // All three hosts have the same Engine: a container is seen on each of them.
  const label = `fl.bulk=${Date.now()}`;
  const labels = { 'fl.bulk': label.split('=')[1] ?? '' };
  const [web, other] = [await testContainer(t, { labels }), await testContainer(t)];
  const started = (await stateOf(web.id)).StartedAt;
  const dry = await cli('bulk', 'restart', '--tag', 'edge', '--label', label, '--dry-run');
  assert.deepEqual([dry.exit.code, dry.stdout], [0, `one/${web.name}\ntwo/${web.name}\n2 would be touched.\n`]);
  assert.equal((await stateOf(web.id)).StartedAt, started);
  assert.equal((await cli('bulk', 'restart', '--tag', 'edge', '--label', label)).exit.code, 2);

  const run = await cli('bulk', 'restart', '--host', 'one', '--label', label, '-t', '5', '--yes');
  assert.equal(run.exit.code, 0, run.transcript());
  assert.match(run.stdout, new RegExp(`^one/${web.name}\n\nHOST.*\none +1 +0 +0\n1 matched: 1 ok`));
  assert.notEqual((await stateOf(web.id)).StartedAt, started);
  assert.equal((await stateOf(other.id)).Running, true);
  const rows = (await server.api.get('/api/v1/audit?action=container.&limit=10')).body.items;
  const [bulk, restart] = rows;
  assert.deepEqual([bulk.action, bulk.result, restart.action], ['container.bulk', 'ok', 'container.restart']);
  assert.equal(bulk.detail.operationId, restart.detail.operationId);

  const body = { action: 'restart', select: { host: ['one'], label: [label] } };
  const options = { body, headers: { 'idempotency-key': `bulk-${Date.now()}` } };
  const twice = [];
  for (let n = 0; n < 2; n++) {
    const answer = await server.api.request('POST', '/api/v1/containers/actions', options);
    assert.match(answer.text, /"ok":1/);
    twice.push((await stateOf(web.id)).StartedAt);
  }
  assert.equal(twice[0], twice[1], 'a repeat by the same key restarted it again');
});

test('a host that is away is told, and makes the command fail; a rename shows at once and the id stays', async (t) => {
  const label = `fl.away=${Date.now()}`;
  const { id } = await testContainer(t, { labels: { 'fl.away': label.split('=')[1] ?? '' } });
  await third.stop();
  await waitForState(server, 'three', 'offline');
  const { body } = await server.api.get('/api/v1/hosts/two');
  assert.equal((await cli('host', 'rename', 'two', 'second')).exit.code, 0);
  const ps = await cli('ps', '--label', label);
  assert.match(ps.stdout, /^one .*\nsecond .*\n$/m);
  assert.match(ps.stderr, /three: .*\(HOST_OFFLINE\)/);
  assert.equal((await server.api.get(`/api/v1/hosts/${body.id}`)).body.name, 'second');
  const stopped = await cli(
    'bulk',
    'stop',
    '--host',
    'second',
    '--host',
    'three',
    '--label',
    label,
    '-t',
    '5',
    '--yes',
  );
  assert.equal(stopped.exit.code, 1);
  assert.match(stopped.stdout, /1 matched: 1 ok, 0 failed, 0 skipped; 1 hosts did not answer\.\n$/);
  assert.equal((await stateOf(id)).Running, false);
  assert.match((await server.api.get('/metrics')).text, /host="second"/);
  const networks = (await server.api.get('/api/v1/networks?tag=edge')).body;
  assert.deepEqual([...new Set(networks.items.map(({ host }: { host: string }) => host))].sort(), ['one', 'second']);
});
