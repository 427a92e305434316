/** What goes into containers and images of a real Engine, and comes out: commands, attachments, files, tars of images. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { before, test } from 'node:test';
import { extract, type Headers, pack } from 'tar-stream';
import type { WebSocket } from 'ws';
import { dockerApi, TEST_IMAGE, testContainer } from '../support/docker.ts';
import type { Answer } from '../support/http.ts';
import { addHost, type Server, startServer } from '../support/mesh.ts';
import { startRegistry } from '../support/registry.ts';
import { defer, fileCleanup } from '../support/tmp.ts';
import { waitFor, within } from '../support/wait.ts';

const shared = fileCleanup();
let server: Server;

before(async () => {
  server = await startServer(shared);
  await addHost(shared, server, 'shed');
});

const route = (container: string, rest = '') => `/api/v1/hosts/shed/containers/${container}${rest}`;
const images = (rest: string) => `/api/v1/hosts/shed/images${rest}`;
const run = (id: string, body: object): Promise<Answer> => server.api.post(route(id, '/exec'), body);
const codeOf = ({ status, body }: Answer) => [status, body.code];

/** Sends a tar. */
async function send(method: 'PUT' | 'POST', path: string, tar: Uint8Array): Promise<Answer> {
  const { request } = await import('node:https');
  const { url, ca } = server.api;
  const headers = { authorization: `Bearer ${server.adminToken}`, 'content-type': 'application/x-tar' };
  const outgoing = request(new URL(path, url), { method, ca, headers, agent: false });
  outgoing.end(tar);
  const [response] = await once(outgoing, 'response');
  const text = String(await buffer(response));
  return {
    status: response.statusCode,
    headers: response.headers,
    text,
    body: text === '' ? undefined : JSON.parse(text),
  };
}

async function tarOf(files: Record<string, string>): Promise<Buffer> {
  const tar = pack();
  for (const [name, content] of Object.entries(files)) tar.entry({ name }, content);
  tar.finalize();
  return await buffer(Readable.from(tar));
}

async function entriesOf(tar: Buffer): Promise<Map<string, { header: Headers; content: string }>> {
  const found = new Map<string, { header: Headers; content: string }>();
  const parser = extract();
  parser.end(tar);
  for await (const entry of parser) {
    const content = String(await buffer(Readable.from(entry)));
    found.set(entry.header.name, { header: entry.header, content });
  }
  return found;
}

async function download(path: string): Promise<Buffer> {
  const response = await server.api.open('GET', path);
  assert.equal(response.statusCode, 200);
  return await buffer(response);
}

test('a command is run to its end: outputs, code, input, user, limits', async (t) => {
  const { id } = await testContainer(t);
  const script = 'cat; echo "$A $(id -u) $(pwd)" >&2; exit 7';
  const full = await run(id, {
    ...{ cmd: ['sh', '-c', script], stdin: 'grüß\n', user: 'guest', workdir: '/tmp', env: ['A=1'] },
  });
  assert.deepEqual(full.body, { exitCode: 7, stdout: 'grüß\n', stderr: '1 1000 /tmp\n', truncated: false });
  const plain = await run(id, { cmd: ['cat'] });
  assert.deepEqual(plain.body, { exitCode: 0, stdout: '', stderr: '', truncated: false });
  const bytes = randomBytes(300_000).toString('base64');
  const binary = await run(id, { cmd: ['cat'], stdin: bytes, encoding: 'base64' });
  assert.equal(binary.body.stdout, bytes);
  const cut = await run(id, { cmd: ['sh', '-c', 'seq 1 100000; echo x >&2'], maxOutputBytes: 10 });
  assert.deepEqual(cut.body, { exitCode: 0, stdout: '1\n2\n3\n4\n5\n', stderr: 'x\n', truncated: true });
});

test('a command that takes too long, or whose client leaves, is ended', async (t) => {
  const { id } = await testContainer(t);
  const sleeps = async (seconds: string) =>
    JSON.stringify((await dockerApi('GET', `/containers/${id}/top`)).body).includes(`sleep ${seconds}`);
  assert.deepEqual(codeOf(await run(id, { cmd: ['sleep', '8101'], timeoutSeconds: 1 })), [504, 'TIMEOUT']);
  await waitFor('its end', async () => !(await sleeps('8101')));
  const leave = new AbortController();
  const asked = server.api.request('POST', route(id, '/exec'), {
    body: { cmd: ['sleep', '8102'] },
    signal: leave.signal,
  });
  const left = assert.rejects(asked);
  await waitFor('the command', () => sleeps('8102'));
  leave.abort();
  await left;
  await waitFor('its end', async () => !(await sleeps('8102')), { timeoutMs: 2_000 });
  assert.deepEqual(codeOf(await run('fl-test-none', { cmd: ['true'] })), [404, 'CONTAINER_NOT_FOUND']);
  assert.deepEqual(codeOf(await run(id, { cmd: [] })), [400, 'VALIDATION']);
});

test('each command leaves a row with its arguments, and not its input', async (t) => {
  const { id } = await testContainer(t);
  await run(id, { cmd: ['cat', '/etc/group'], stdin: 'a secret' });
  const audit = await server.api.get('/api/v1/audit?action=container.exec&limit=1');
  assert.deepEqual(audit.body.items[0].detail, { cmd: ['cat', '/etc/group'], tty: false });
  assert.ok(!audit.text.includes('a secret'));
});

/** What an attachment has got so far. */
async function attach(id: string, query = '') {
  const socket: WebSocket = server.api.webSocket(route(id, `/attach${query}`));
  const got = { bytes: '', controls: [] as unknown[] };
  socket.on('message', (data, isBinary) => {
    if (isBinary) got.bytes += String(data);
    else got.controls.push(JSON.parse(String(data)));
  });
  const closed = new Promise<number>((resolve) => socket.once('close', resolve));
  await once(socket, 'open');
  return { socket, got, closed };
}

const TALKER = ['sh', '-c', 'while read line; do echo "said $line"; [ "$line" = end ] && exit 5; done; exit 6'];

test('an attachment says and hears what the process does, and tells its exit', async (t) => {
  const { id } = await testContainer(t, { cmd: TALKER, config: { OpenStdin: true } });
  const first = await attach(id);
  first.socket.send(Buffer.from('hello\n'));
  await waitFor('the answer', () => first.got.bytes === 'said hello\n');
  first.socket.terminate();
  const second = await attach(id, '?logs=1');
  second.socket.send(Buffer.from('end\n'));
  assert.equal(await within(10_000, 'the close', second.closed), 1000);
  assert.deepEqual(second.got, { bytes: 'said hello\nsaid end\n', controls: [{ exit: { code: 5 } }] });
});

test('a terminal is attached with its size; its keys for that detach, and the process lives on', async (t) => {
  const config = { OpenStdin: true };
  const { id } = await testContainer(t, { cmd: ['sh'], tty: true, config });
  const { socket, got, closed } = await attach(id, '?cols=91&rows=31');
  await waitFor('the size', () => {
    socket.send(Buffer.from('stty size\n'));
    return got.bytes.includes('31 91');
  });
  socket.send(Buffer.from([16]));
  socket.send(Buffer.from([17]));
  assert.equal(await within(10_000, 'the close', closed), 1000);
  assert.deepEqual(got.controls, [{ detached: true }]);
  assert.equal((await dockerApi('GET', `/containers/${id}/json`)).body.State.Running, true);
  const stopped = await testContainer(t, { start: false });
  const refused = server.api.webSocket(route(stopped.id, '/attach'));
  const [, response] = await once(
    refused.on('error', () => undefined),
    'unexpected-response',
  );
  assert.equal(response.statusCode, 409);
});

test('files go in and out as tars, with Docker’s own facts', async (t) => {
  const { id } = await testContainer(t);
  const big = randomBytes(3_000_000).toString('base64');
  const put = await send('PUT', route(id, '/archive?path=/tmp'), await tarOf({ 'in/a.txt': 'hello', 'in/big': big }));
  assert.equal(put.status, 204, put.text);
  const sum = await run(id, { cmd: ['sh', '-c', 'cat /tmp/in/a.txt; sha256sum < /tmp/in/big'] });
  assert.equal(sum.body.stdout, `hello${createHash('sha256').update(big).digest('hex')}  -\n`);
  const found = await entriesOf(await download(route(id, '/archive?path=/tmp/in')));
  assert.equal(found.get('in/big')?.content, big);
  const head = await server.api.request('HEAD', route(id, '/archive?path=/tmp/in/a.txt'));
  assert.equal(head.status, 200);
  const stat = JSON.parse(Buffer.from(String(head.headers['x-docker-container-path-stat']), 'base64').toString());
  assert.deepEqual([stat.name, stat.size], ['a.txt', 5]);
  assert.equal((await server.api.request('HEAD', route(id, '/archive?path=/nothing'))).status, 404);
  assert.deepEqual(codeOf(await server.api.get(route(id, '/archive?path=/nothing'))), [404, 'NOT_FOUND']);
  const nowhere = await send('PUT', route(id, '/archive?path=/nothing'), await tarOf({ a: 'b' }));
  assert.deepEqual(codeOf(nowhere), [404, 'NOT_FOUND']);
  const garbage = await send('PUT', route(id, '/archive?path=/tmp'), Buffer.from('this is no tar'.repeat(100)));
  assert.ok(garbage.status >= 400, garbage.text);
  assert.deepEqual(codeOf(await server.api.get(route(id, '/archive'))), [400, 'VALIDATION']);
});

test('images are saved as one tar, and loaded again; a broken tar is an error', async (t) => {
  const name = `fl-test-${randomBytes(6).toString('hex')}`;
  await dockerApi('POST', `/images/${TEST_IMAGE}/tag?repo=${name}&tag=1`);
  defer(t, () => dockerApi('DELETE', `/images/${name}:1`));
  const both = `/${name}:1/archive?and=${encodeURIComponent(TEST_IMAGE)}`;
  const tar = await download(images(both));
  const manifest = JSON.parse((await entriesOf(tar)).get('manifest.json')?.content ?? '');
  assert.deepEqual(
    manifest.flatMap((one: { RepoTags: string[] }) => one.RepoTags).sort(),
    [TEST_IMAGE, `${name}:1`].sort(),
  );
  await dockerApi('DELETE', `/images/${name}:1`);
  const loaded = await send('POST', images('/load'), tar);
  assert.equal(loaded.status, 200, loaded.text);
  assert.ok(
    loaded.body.loaded.some((text: string) => text.includes(`${name}:1`)),
    loaded.text,
  );
  assert.equal((await dockerApi('GET', `/images/${name}:1/json`)).status, 200);
  for (const broken of [tar.subarray(0, 700_000), Buffer.from('no tar at all'), Buffer.alloc(10_240)]) {
    const refused = await send('POST', images('/load'), broken);
    assert.ok(refused.status >= 400 && refused.body.code !== undefined, `${broken.length}: ${refused.text}`);
  }
  assert.deepEqual(codeOf(await server.api.get(images('/fl-test-none:1/archive'))), [404, 'NOT_FOUND']);
});

const pull = (body: object, headers = {}) => server.api.request('POST', images('/pull'), { body, headers });

function records({ text }: Answer): { status?: string; error?: { code: string; detail: string } }[] {
  return text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
}

test('an image is pulled, with Docker’s own words on the way', async (t) => {
  const { name } = await startRegistry(t);
  const pulled = await pull({ reference: name });
  assert.equal(pulled.status, 200, pulled.text);
  assert.match(records(pulled).at(-1)?.status ?? '', /^Status: Downloaded newer image/);
  assert.equal((await dockerApi('GET', `/images/${name}:latest/json`)).status, 200);
  const { body } = await server.api.get('/api/v1/audit?action=image.pull&limit=1');
  assert.deepEqual([body.items[0].target, body.items[0].result], [`shed/${name}`, 'ok']);
});

test('a pull that fails is an error, before its first word and behind it', async (t) => {
  const { name, breakLayer } = await startRegistry(t);
  const unknown = await pull({ reference: `${name}:2` });
  assert.deepEqual(codeOf(unknown), [404, 'NOT_FOUND'], unknown.text);
  breakLayer();
  const response = await server.api.open('POST', images('/pull'), { body: { reference: name } });
  let text = '';
  response.on('data', (chunk) => {
    text += chunk;
  });
  const [error] = await within(60_000, 'the break', once(response, 'error'));
  assert.equal(error.code, 'ECONNRESET', 'the answer does not end like a whole one');
  assert.equal(records({ text } as Answer).at(-1)?.error?.code, 'DOCKER_ERROR', text);
  const { body } = await server.api.get('/api/v1/audit?action=image.pull&limit=1');
  assert.equal(body.items[0].result, 'failed');
  const nobody = await pull({ reference: '127.0.0.1:1/x/y' });
  assert.deepEqual(codeOf(nobody), [502, 'DOCKER_ERROR']);
});

test('credentials reach the registry, and no log', async (t) => {
  const secret = `pw-${randomBytes(12).toString('hex')}`;
  const basic = `Basic ${Buffer.from(`ann:${secret}`).toString('base64')}`;
  const { name } = await startRegistry(t, { wants: (authorization) => authorization === basic });
  assert.ok((await pull({ reference: `${name}:1` })).status >= 400);
  const [serveraddress] = name.split('/');
  const auth = Buffer.from(JSON.stringify({ username: 'ann', password: secret, serveraddress })).toString('base64url');
  const pulled = await pull({ reference: `${name}:1` }, { 'x-registry-auth': auth });
  assert.equal(pulled.status, 200, pulled.text);
  const audit = await server.api.get('/api/v1/audit?action=image.pull&limit=5');
  for (const text of [audit.text, pulled.text, server.process.transcript()]) {
    assert.ok(!text.includes(secret) && !text.includes(auth));
  }
});
