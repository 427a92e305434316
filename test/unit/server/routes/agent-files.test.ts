/** The agent's executables over HTTP, from folders as the build writes them. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { get, type IncomingMessage, type OutgoingHttpHeaders } from 'node:http';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { AgentFiles, agentFolders } from '../../../../server/agent-files.ts';
import { AGENT_DOWNLOAD_MS, AGENT_DOWNLOADS } from '../../../../server/routes/limits.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { tempDir } from '../../../support/tmp.ts';
import { waitFor } from '../../../support/wait.ts';
import { ask, fixture, listen } from './fakes.ts';

const BYTES = Buffer.alloc(200_000, 'agent');
/** More than sockets hold, so that a download goes on until it is read. */
const LARGE = Buffer.alloc(16 * 1024 * 1024);

async function served(t: TestContext) {
  const dir = await tempDir(t, 'agent-files');
  const folders = [join(dir, 'first'), join(dir, 'second')];
  const clock = new FakeClock();
  const { api } = await fixture({ overrides: { agentFiles: new AgentFiles(folders), clock, trustProxy: true } });
  const open: IncomingMessage[] = [];
  t.after(() => {
    for (const one of open) one.destroy();
    return api.close();
  });
  const put = async (folder: number, path: string, bytes: Buffer | string) => {
    const file = join(folders[folder] ?? '', path);
    await mkdir(join(file, '..'), { recursive: true });
    await writeFile(file, bytes);
  };
  return { api, clock, dir, put, open };
}

/** Begins downloads of a large executable, which the end of the test ends. */
async function downloads({ api, put, open }: Pick<Awaited<ReturnType<typeof served>>, 'api' | 'put' | 'open'>) {
  await put(0, 'linux/x64/fairlead-agent', LARGE);
  const url = `${await listen({ api })}/download/linux/x64/fairlead-agent`;
  return async (headers: OutgoingHttpHeaders = {}): Promise<IncomingMessage> => {
    const [response] = await once(get(url, { agent: false, headers }), 'response');
    open.push(response);
    return response;
  };
}

test('an executable and what belongs to it are served to anyone, whole, and not again to who has them', async (t) => {
  const { api, put } = await served(t);
  await put(1, 'linux/x64/fairlead-agent', BYTES);
  await put(1, 'linux/x64/fairlead-agent.sha256', 'abc  fairlead-agent\n');
  const answer = await ask(api, { url: '/download/linux/x64/fairlead-agent' });
  assert.equal(answer.statusCode, 200);
  assert.ok(answer.rawPayload.equals(BYTES));
  assert.equal(Number(answer.headers['content-length']), BYTES.byteLength);
  assert.equal(answer.headers['content-type'], 'application/octet-stream');
  const headers = { 'if-none-match': String(answer.headers['etag']) };
  const again = await ask(api, { url: '/download/linux/x64/fairlead-agent', headers });
  assert.deepEqual([again.statusCode, again.body], [304, '']);
  await put(1, 'linux/x64/fairlead-agent', Buffer.concat([BYTES, BYTES]));
  assert.equal((await ask(api, { url: '/download/linux/x64/fairlead-agent', headers })).statusCode, 200);
  const sum = await ask(api, { url: '/download/linux/x64/fairlead-agent.sha256' });
  assert.deepEqual([sum.statusCode, sum.body], [200, 'abc  fairlead-agent\n']);
});

test('what is not there is told with how to provide it, and nothing else can be asked for', async (t) => {
  const { api, dir, put } = await served(t);
  await put(1, 'linux/x64/fairlead-agent', BYTES);
  await put(1, 'linux/x64/other', 'secret');
  await put(1, 'secret', 'secret');
  await mkdir(join(dir, 'first/linux/arm64/fairlead-agent'), { recursive: true });
  for (const [path, what] of [
    ['linux/arm64/fairlead-agent', 'fairlead-agent for linux/arm64'],
    ['linux/x64/fairlead-agent.sig', 'fairlead-agent.sig for linux/x64'],
    ['darwin/arm64/fairlead-agent', 'fairlead-agent for darwin/arm64'],
  ] as const) {
    const answer = await ask(api, { url: `/download/${path}` });
    assert.equal(answer.statusCode, 404);
    assert.equal(answer.json().code, 'NOT_FOUND');
    assert.ok(answer.json().detail.includes(what) && /build:agent.*--agent-files/.test(answer.json().detail));
    assert.ok(!answer.body.includes(dir));
  }
  for (const path of [
    'linux/x64/other',
    '../x64/fairlead-agent',
    'linux/..%2f../secret',
    'linux/x64/..%2f..%2fsecret',
  ]) {
    const answer = await ask(api, { url: `/download/${path}` });
    assert.ok(answer.statusCode === 400 || answer.statusCode === 404, `${path}: ${answer.statusCode}`);
    assert.ok(!answer.body.includes('"secret"') && answer.body !== 'secret');
  }
});

test('the first folder that has an executable has all of it: sums of another one are not mixed in', async (t) => {
  const { api, put } = await served(t);
  await put(0, 'linux/x64/fairlead-agent', 'new');
  await put(1, 'linux/x64/fairlead-agent', 'old');
  await put(1, 'linux/x64/fairlead-agent.sha256', 'of the old one');
  assert.equal((await ask(api, { url: '/download/linux/x64/fairlead-agent' })).body, 'new');
  assert.equal((await ask(api, { url: '/download/linux/x64/fairlead-agent.sha256' })).statusCode, 404);
  assert.deepEqual(agentFolders({ dataDir: '/data', agentFiles: '/srv/agents' }), ['/srv/agents']);
  assert.equal(agentFolders({ dataDir: '/data' })[0], '/data/agent-files');
});

test('downloads of one address have a limit, and those whose client leaves make room', async (t) => {
  const { api, clock, dir, put, open: all } = await served(t);
  const begin = await downloads({ api, put, open: all });
  const idleTimers = clock.pendingTimers;
  const open = await Promise.all(Array.from({ length: AGENT_DOWNLOADS.ofHost }, () => begin()));
  assert.ok(open.every(({ statusCode }) => statusCode === 200));
  const refused = await begin();
  assert.equal(refused.statusCode, 503);
  assert.equal(JSON.parse(String(await buffer(refused))).code, 'OVERLOADED');
  open.pop()?.destroy();
  await waitFor('room for another download', async () => {
    const next = await begin();
    return next.statusCode === 200 ? true : undefined;
  });
  await rm(dir, { recursive: true });
  const whole = open.shift();
  assert.ok(whole);
  assert.equal((await buffer(whole)).byteLength, LARGE.byteLength);
  for (const one of all) one.destroy();
  await waitFor('the end of all their deadlines', async () => clock.pendingTimers === idleTimers || undefined);
});

test('all of one /64 is one address', async (t) => {
  const begin = await downloads(await served(t));
  const of = (address: string) => begin({ 'x-forwarded-for': address });
  const open = await Promise.all(
    Array.from({ length: AGENT_DOWNLOADS.ofHost }, (_, index) => of(`2001:db8::${(index + 1).toString(16)}`)),
  );
  assert.ok(open.every(({ statusCode }) => statusCode === 200));
  const more = [await of('2001:db8:0:0:ffff::1'), await of('2001:db8:0:1::1')];
  assert.deepEqual(
    more.map(({ statusCode }) => statusCode),
    [503, 200],
  );
});

test('a download that its client takes little by little ends in the end, and makes room', async (t) => {
  const { clock, ...rest } = await served(t);
  const begin = await downloads(rest);
  const open = await Promise.all(Array.from({ length: AGENT_DOWNLOADS.ofHost }, () => begin()));
  const [slow] = open;
  assert.ok(slow);
  const ends = open.map((one) => once(one, 'error'));
  clock.advance(AGENT_DOWNLOAD_MS - 1);
  slow.read(1);
  assert.equal((await begin()).statusCode, 503);
  assert.ok(open.every(({ errored }) => errored === null));
  clock.advance(1);
  // What has come is still there to be read.
  for (const one of open) one.resume();
  for (const [error] of await Promise.all(ends)) assert.equal(error.code, 'ECONNRESET');
  assert.equal((await begin()).statusCode, 200);
});
