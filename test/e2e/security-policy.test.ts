/** The owner of a host has the last word: what its policy denies is refused to an admin, leaves Docker alone, and is written down. */
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { runCliHere } from '../support/cli.ts';
import { dockerApi, testContainer } from '../support/docker.ts';
import { DockerProxy } from '../support/docker-proxy.ts';
import { ExecClient } from '../support/exec-client.ts';
import { run } from '../support/launcher.ts';
import { addHost, enroll, type Server, startAgent, startServer, waitForState } from '../support/mesh.ts';
import { fileCleanup } from '../support/tmp.ts';

const shared = fileCleanup();
let server: Server;

before(async () => {
  server = await startServer(shared);
});

interface Row {
  actor: string;
  action: string;
  target: string;
  result: string;
  detail: { code?: string } | null;
}

/** The rows of what `host` refused, as `action target`, oldest first. */
async function refusedBy(host: string): Promise<string[]> {
  const { body } = await server.api.get('/api/v1/audit?limit=500');
  return (body.items as Row[])
    .filter(({ target, result, detail }) => {
      return target?.split('/')[0] === host && result === 'refused' && detail?.code === 'DENIED_BY_HOST';
    })
    .map(({ action, target }) => `${action} ${target}`)
    .toReversed();
}

async function isRunning(id: string): Promise<boolean> {
  return (await dockerApi('GET', `/containers/${id}/json`)).body?.State?.Running === true;
}

const isDenied = (answer: { status: number; body: { code: string } }) =>
  assert.deepEqual([answer.status, answer.body.code], [403, 'DENIED_BY_HOST']);

test('a host that is read-only lists and shows, and neither stops nor runs anything', async (t) => {
  const { id } = await testContainer(t);
  await addHost(t, server, 'glass', ['--allow', 'read-only']);
  const at = (rest = '') => `/api/v1/hosts/glass/containers${rest}`;
  const list = await server.api.get(at());
  assert.ok(list.body.items.some((one: { Id: string }) => one.Id === id));
  assert.equal((await server.api.get(at(`/${id}/top`))).status, 200);
  assert.deepEqual((await server.api.get('/api/v1/hosts/glass')).body.policy, { allow: ['read-only'], deny: [] });
  isDenied(await server.api.post(at(`/${id}/stop`)));
  isDenied(await server.api.delete(at(`/${id}?force=1`)));
  await assert.rejects(ExecClient.open(server.api, 'glass', id, { cmd: ['true'] }), /403/);
  assert.ok(await isRunning(id));
  assert.deepEqual(await refusedBy('glass'), [
    `container.stop glass/${id}`,
    `container.remove glass/${id}`,
    `container.exec glass/${id}`,
  ]);
});

test('a Docker call that is denied in agent.json is never made, whatever asks for it', async (t) => {
  const { id } = await testContainer(t);
  const proxy = await DockerProxy.start(t);
  const agent = await enroll(t, server, 'kept');
  const file = join(agent.stateDir, 'agent.json');
  const record = JSON.parse(await readFile(file, 'utf8'));
  const deny = ['docker:DELETE', 'docker:GET /containers/*/logs', 'docker:* /exec/**'];
  await writeFile(file, JSON.stringify({ ...record, deny }));
  startAgent(t, agent, ['--docker', proxy.path]);
  await waitForState(server, 'kept', 'online');
  const at = (rest: string) => `/api/v1/hosts/kept/containers/${id}${rest}`;
  isDenied(await server.api.delete(at('?force=1')));
  isDenied(await server.api.get(at('/logs')));
  await assert.rejects(ExecClient.open(server.api, 'kept', id, { cmd: ['true'] }), /403/);
  assert.ok(await isRunning(id));
  assert.equal((await server.api.post(at('/restart?t=0'))).status, 204, 'what is not denied is done');
  assert.deepEqual(proxy.asked('DELETE '), []);
  assert.deepEqual(proxy.asked('/logs'), []);
  assert.deepEqual(proxy.asked('/exec'), []);
  assert.equal(proxy.asked('/restart').length, 1);
  assert.deepEqual(await refusedBy('kept'), [
    `container.remove kept/${id}`,
    `container.log.stream kept/${id}`,
    `container.exec kept/${id}`,
  ]);
  const shown = await runCliHere([
    ...['--server', server.runtime.apiUrl, '--api-token-file', join(server.dataDir, 'admin-token')],
    ...['host', 'show', 'kept'],
  ]);
  assert.match(shown.stdout, /docker:GET \/containers\/\*\/logs/, shown.transcript());
});

test('what is denied by its name is done by no kind of another name, and Docker is not asked', async (t) => {
  const { id } = await testContainer(t);
  const proxy = await DockerProxy.start(t);
  const agent = await enroll(t, server, 'named');
  const deny = ['container.exec.open', 'container.log.stream', 'container.list'];
  startAgent(t, agent, ['--docker', proxy.path, ...deny.flatMap((entry) => ['--deny', entry])]);
  await waitForState(server, 'named', 'online');
  const at = (rest: string) => `/api/v1/hosts/named${rest}`;
  isDenied(await server.api.post(at(`/containers/${id}/exec`), { cmd: ['true'] }));
  isDenied(await server.api.get(at('/stacks')));
  isDenied(await server.api.get(at('/stacks/any/logs')));
  isDenied(await server.api.get(at('/containers')));
  assert.equal((await server.api.get(at(`/containers/${id}`))).status, 200, 'what is not denied is done');
  // The agent looks by itself for what it has left behind.
  const asked = (path: string) => proxy.asked(path).filter((line) => !line.includes('fairlead.helper'));
  for (const path of ['/exec', '/logs', '/containers/json']) assert.deepEqual(asked(path), [], path);
});

test('an entry that is none stops the agent with the file and the entry', async (t) => {
  const agent = await enroll(t, server, 'slip');
  const file = join(agent.stateDir, 'agent.json');
  const record = JSON.parse(await readFile(file, 'utf8'));
  for (const deny of ['docker:DELET', 'exce']) {
    await writeFile(file, JSON.stringify({ ...record, deny: [deny] }));
    const ended = await run(t, 'agent', ['run', '--state-dir', agent.stateDir]);
    assert.equal(ended.exit.code, 1, ended.transcript());
    assert.ok(ended.stderr.includes(`deny in ${file}: "${deny}"`), ended.transcript());
  }
});
