/** Containers made and pruned, images, networks and volumes of a real Engine through the mesh: over REST, and as the CLI has them. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { before, test } from 'node:test';
import { type CliRun, runCliHere } from '../support/cli.ts';
import { dockerApi, requireDocker, TEST_IMAGE, TEST_LABEL } from '../support/docker.ts';
import { addHost, type Server, startServer } from '../support/mesh.ts';
import { defer, fileCleanup } from '../support/tmp.ts';

const shared = fileCleanup();
/** On all that is made here, so that nobody else's is pruned. */
const MARK = `fl-cat-${randomBytes(6).toString('hex')}`;
const FILTERS = `filters=${encodeURIComponent(JSON.stringify({ label: [MARK] }))}`;
const BASE = '/api/v1/hosts/shed';
let server: Server;

before(async () => {
  await requireDocker();
  server = await startServer(shared);
  await addHost(shared, server, 'shed');
  await addHost(shared, server, 'vault', ['--deny', 'image', '--deny', 'docker:POST /containers/create']);
  defer(shared, cleanUp);
});

async function cleanUp(): Promise<void> {
  const { body } = await dockerApi('GET', `/containers/json?all=1&${FILTERS}`);
  for (const { Id } of body) await dockerApi('DELETE', `/containers/${Id}?force=1&v=1`);
  for (const family of ['networks', 'volumes']) {
    const found = (await dockerApi('GET', `/${family}?${FILTERS}`)).body;
    for (const { Name } of found.Volumes ?? found) await dockerApi('DELETE', `/${family}/${Name}`);
  }
}

async function cli(...args: string[]): Promise<CliRun> {
  const env = { FAIRLEAD_SERVER: server.runtime.apiUrl, FAIRLEAD_API_TOKEN: server.adminToken };
  return await runCliHere(args, { env });
}

/** What a command says that ends well. */
async function said(...args: string[]): Promise<string> {
  const run = await cli(...args);
  assert.equal(run.exit.code, 0, run.transcript());
  return run.stdout;
}

async function lastRow(action: string) {
  return (await server.api.get(`/api/v1/audit?action=${action}&limit=1`)).body.items[0];
}

/** A container that is not started. */
async function made(name: string): Promise<string> {
  const body = { Image: TEST_IMAGE, Cmd: ['true'], Labels: { [MARK]: '' }, HostConfig: { NetworkMode: 'none' } };
  const answer = await server.api.post(`${BASE}/containers?name=${name}`, body);
  assert.equal(answer.status, 201, answer.text);
  return answer.body.Id;
}

test('a container is made as Docker would, once for each key, and its environment is nobody else’s', async () => {
  const name = `${MARK}-made`;
  const secret = randomBytes(9).toString('hex');
  const body = {
    Image: TEST_IMAGE,
    Cmd: ['echo', 'hello'],
    Env: [`PASSWORD=${secret}`],
    Labels: { [MARK]: '', [TEST_LABEL]: '1' },
    HostConfig: { NetworkMode: 'none', Privileged: true, Memory: 64 * 1024 * 1024 },
  };
  const create = () =>
    server.api.post(`${BASE}/containers?name=${name}`, body, { headers: { 'idempotency-key': MARK } });
  const [first, second] = await Promise.all([create(), create()]);
  assert.equal(first.status, 201, first.text);
  assert.deepEqual(second.body, first.body, 'a repeat gets the answer of the first');
  const { Config, HostConfig } = (await dockerApi('GET', `/containers/${first.body.Id}/json`)).body;
  assert.deepEqual([Config.Cmd, Config.Env.includes(`PASSWORD=${secret}`)], [['echo', 'hello'], true]);
  assert.deepEqual([HostConfig.Privileged, HostConfig.Memory], [true, body.HostConfig.Memory]);
  const again = await server.api.post(`${BASE}/containers?name=${name}`, body);
  assert.deepEqual([again.status, again.body.code], [409, 'CONFLICT']);
  const row = await lastRow('container.create');
  const { items } = (await server.api.get('/api/v1/audit?action=container.create')).body;
  assert.equal(row.target, `shed/${name}`);
  assert.deepEqual(items.at(-1).detail, {
    ...{ name, cmd: ['echo', 'hello'], image: TEST_IMAGE, privileged: true, id: first.body.Id },
  });
  assert.doesNotMatch(JSON.stringify(items), new RegExp(secret));

  const renamed = await server.api.post(`${BASE}/containers/${name}/rename`, { name: `${name}-2` });
  assert.equal(renamed.status, 204);
  assert.equal((await server.api.get(`${BASE}/containers/${name}-2`)).body.Id, first.body.Id);
});

test('what Docker refuses is a refusal that says why', async () => {
  const cases: [method: 'POST' | 'DELETE', path: string, body: object | undefined, status: number, code: string][] = [
    ['POST', '/containers', { Image: `none/${MARK}` }, 404, 'NOT_FOUND'],
    ['POST', '/containers', { Image: TEST_IMAGE, image: 'other' }, 400, 'VALIDATION'],
    ['POST', '/containers', { Image: TEST_IMAGE, HostConfig: { Memory: 1 } }, 400, 'VALIDATION'],
    ['POST', '/containers/none/rename', { name: MARK }, 404, 'CONTAINER_NOT_FOUND'],
    ['DELETE', `/images/${encodeURIComponent(`none/${MARK}:1`)}`, undefined, 404, 'NOT_FOUND'],
    ['POST', `/images/${encodeURIComponent(TEST_IMAGE)}/tag`, { repo: 'UPPER' }, 502, 'DOCKER_ERROR'],
    ['DELETE', '/networks/none', undefined, 409, 'CONFLICT'],
    ['POST', `/networks/${MARK}/connect`, { Container: MARK }, 404, 'CONTAINER_NOT_FOUND'],
    ['DELETE', `/volumes/${MARK}-none`, undefined, 404, 'NOT_FOUND'],
    ['POST', '/volumes', { Name: 'a/b' }, 400, 'VALIDATION'],
    ['POST', '/volumes/prune?filters=label', undefined, 400, 'VALIDATION'],
  ];
  for (const [method, path, body, status, code] of cases) {
    const answer = await server.api.request(method, BASE + path, body === undefined ? {} : { body });
    assert.deepEqual([answer.status, answer.body?.code], [status, code], `${method} ${path}: ${answer.text}`);
    assert.ok(answer.body.detail.length > 10, answer.text);
  }
});

test('images are listed, inspected, named and removed by names with slashes, ports, tags and digests', async (t) => {
  const name = `localhost:5000/${MARK}/app`;
  const image = (ref: string, rest = '') => `${BASE}/images/${encodeURIComponent(ref)}${rest}`;
  t.after(() => dockerApi('DELETE', `/images/${name}:1`));
  assert.equal((await server.api.post(image(TEST_IMAGE, '/tag'), { repo: name, tag: '1' })).status, 204);
  const direct = (await dockerApi('GET', `/images/${name}:1/json`)).body;
  for (const ref of [`${name}:1`, direct.Id, direct.Id.slice('sha256:'.length)]) {
    assert.deepEqual((await server.api.get(image(ref))).body, direct, ref);
  }
  const filters = encodeURIComponent(JSON.stringify({ reference: { [`${name}:1`]: true } }));
  const { items, nextCursor } = (await server.api.get(`${BASE}/images?filters=${filters}`)).body;
  assert.deepEqual([items.length, items[0].Id, nextCursor], [1, direct.Id, null]);
  const removed = await server.api.delete(image(`${name}:1`));
  assert.deepEqual([removed.status, removed.body], [200, [{ Untagged: `${name}:1` }]]);
  assert.equal((await server.api.get(image(`${name}:1`))).status, 404);
  for (const bad of ['..%2f..%2fcontainers%2fjson', 'a%2f%2fb', 'a%2f..%2fb', '%2e%2e', 'a%00b']) {
    const answer = await server.api.get(`${BASE}/images/${bad}`);
    assert.ok([400, 404].includes(answer.status) && answer.body.code !== 'INTERNAL', `${bad}: ${answer.text}`);
  }
});

test('a network is made, joined, left and removed', async () => {
  const name = `${MARK}-lan`;
  const network = await server.api.post(`${BASE}/networks`, {
    ...{ Name: name, CheckDuplicate: true, Internal: true, Labels: { [MARK]: '' } },
    IPAM: { Config: [{ Subnet: '10.213.77.0/24' }] },
  });
  assert.equal(network.status, 201, network.text);
  await dockerApi('POST', `/containers/create?name=${MARK}-member`, {
    ...{ Image: TEST_IMAGE, Cmd: ['sleep', '1000'], Labels: { [MARK]: '' } },
  });
  const Container = `${MARK}-member`;
  const connected = await server.api.post(`${BASE}/networks/${name}/connect`, {
    Container,
    EndpointConfig: { Aliases: ['db'], IPAMConfig: { IPv4Address: '10.213.77.9' } },
  });
  assert.equal(connected.status, 204, connected.text);
  const networksOf = async () =>
    (await dockerApi('GET', `/containers/${Container}/json`)).body.NetworkSettings.Networks;
  assert.deepEqual((await networksOf())[name].IPAMConfig, { IPv4Address: '10.213.77.9' });
  const twice = await server.api.post(`${BASE}/networks`, { Name: name, CheckDuplicate: true });
  assert.deepEqual([twice.status, twice.body.code], [409, 'CONFLICT']);
  assert.equal((await server.api.post(`${BASE}/networks/${name}/disconnect`, { Container })).status, 204);
  assert.equal(name in (await networksOf()), false);
  assert.equal((await server.api.get(`${BASE}/networks/${name}`)).body.Id, network.body.Id);
  assert.equal((await server.api.delete(`${BASE}/networks/${name}`)).status, 204);
  assert.equal((await server.api.get(`${BASE}/networks/${name}`)).body.code, 'NOT_FOUND');
});

test('volumes come in pages by name; prunes take what the filters let through, and nothing else', async () => {
  for (const letter of ['c', 'a', 'b']) {
    const body = { Name: `${MARK}-${letter}`, Labels: { [MARK]: '' } };
    const answer = await server.api.post(`${BASE}/volumes`, body);
    assert.deepEqual([answer.status, answer.body.Name], [201, body.Name], answer.text);
  }
  const names: string[] = [];
  let cursor = '';
  do {
    const { body } = await server.api.get(`${BASE}/volumes?limit=2&${FILTERS}${cursor}`);
    names.push(...body.items.map(({ Name }: { Name: string }) => Name.slice(MARK.length)));
    cursor = body.nextCursor === null ? '' : `&cursor=${encodeURIComponent(body.nextCursor)}`;
  } while (cursor !== '');
  assert.deepEqual(names, ['-a', '-b', '-c']);
  assert.equal((await server.api.delete(`${BASE}/volumes/${MARK}-b`)).status, 204);
  await dockerApi('POST', '/volumes/create', { Name: `${MARK}-other`, Labels: { [`${MARK}-other`]: '' } });
  const pruned = await server.api.post(`${BASE}/volumes/prune?${FILTERS}`);
  assert.deepEqual(pruned.body.VolumesDeleted.toSorted(), [`${MARK}-a`, `${MARK}-c`], pruned.text);
  assert.equal((await server.api.delete(`${BASE}/volumes/${MARK}-other`)).status, 204, 'it was left');
  const { detail } = await lastRow('volume.prune');
  assert.deepEqual(detail, { filters: { label: [MARK] }, removed: 2, reclaimedBytes: pruned.body.SpaceReclaimed });
});

test('what the host denies is denied, call by call', async () => {
  const of = (path: string) => `/api/v1/hosts/vault${path}`;
  for (const answer of [
    await server.api.get(of('/images')),
    await server.api.post(of('/images/prune?dangling=0')),
    await server.api.post(of('/containers'), { Image: TEST_IMAGE }),
  ]) {
    assert.deepEqual([answer.status, answer.body.code], [403, 'DENIED_BY_HOST'], answer.text);
  }
  assert.equal((await lastRow('image.prune')).result, 'refused');
  assert.equal((await server.api.get(of('/volumes'))).status, 200);
});

test('the CLI: containers', async () => {
  const name = `${MARK}-cli`;
  const options = ['--name', name, '-l', `${MARK}=`, '-e', 'A=1', '--network', 'none', '-p', '127.0.0.1:0:80'];
  const id = (await said('container', 'create', 'shed', TEST_IMAGE, ...options, '--', 'sh', '-c', 'echo hi')).trim();
  const { Config, HostConfig } = (await dockerApi('GET', `/containers/${name}/json`)).body;
  assert.deepEqual([Config.Cmd, Config.Env.includes('A=1')], [['sh', '-c', 'echo hi'], true]);
  assert.deepEqual(HostConfig.PortBindings, { '80/tcp': [{ HostIp: '127.0.0.1', HostPort: '0' }] });
  assert.equal(await said('container', 'rename', 'shed', name, `${name}-2`), `${name}-2\n`);
  const unasked = await cli('container', 'prune', 'shed', '--filter', `label=${MARK}`);
  assert.deepEqual([unasked.exit.code, unasked.stdout], [2, '']);
  assert.match(unasked.stderr, /all stopped containers on shed, if label=.*--force/);
  const kept = await made(`${MARK}-kept`);
  assert.ok((await said('container', 'prune', 'shed', '-f', '--filter', `label=${MARK}=`)).includes(id));
  assert.equal((await dockerApi('GET', `/containers/${kept}/json`)).status, 404, 'it was stopped, too');
});

test('the CLI: images, networks and volumes', async () => {
  const repo = `localhost:5000/${MARK}/cli`;
  await said('image', 'tag', 'shed', TEST_IMAGE, `${repo}:7`);
  const listed = await said('image', 'ls', 'shed', '--filter', `reference=${repo}`);
  assert.match(
    listed,
    new RegExp(`^REPOSITORY +TAG +IMAGE ID +CREATED +SIZE\n${repo} +7 +[0-9a-f]{12} +.* ago +.*iB\n$`),
  );
  const inspected = JSON.parse(await said('image', 'inspect', 'shed', `${repo}:7`));
  assert.ok(inspected.RepoTags.includes(`${repo}:7`));
  const removed = await cli('image', 'rm', 'shed', `${repo}:none`, `${repo}:7`);
  assert.deepEqual([removed.exit.code, removed.stdout], [1, `Untagged: ${repo}:7\n`]);
  assert.match(removed.stderr, /:none: No such image.*NOT_FOUND/);

  const lan = `${MARK}-cli-lan`;
  await said('network', 'create', 'shed', lan, '-l', `${MARK}=`, '--subnet', '10.213.78.0/24', '--internal');
  assert.match(
    await said('network', 'ls', 'shed', '--filter', `label=${MARK}`),
    /cli-lan +bridge +local +10\.213\.78\.0/,
  );
  assert.match(await said('network', 'prune', 'shed', '--force', '--filter', `label=${MARK}`), new RegExp(lan));

  const volume = `${MARK}-cli-data`;
  assert.equal(await said('volume', 'create', 'shed', volume, '--label', `${MARK}=x`), `${volume}\n`);
  const volumes = JSON.parse(await said('volume', 'ls', 'shed', '--json', '--filter', `label=${MARK}=x`));
  assert.deepEqual(
    volumes.map(({ Name }: { Name: string }) => Name),
    [volume],
  );
  assert.equal(await said('volume', 'rm', 'shed', volume), `${volume}\n`);
});
