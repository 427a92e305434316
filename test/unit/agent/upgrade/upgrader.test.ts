import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { appendFile, stat, writeFile } from 'node:fs/promises';
import { type TestContext, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { MAX_ATTEMPTS, RETRY_MIN_MS, WORTHWHILE_BYTES } from '../../../../agent/upgrade/limits.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import type { AgentUpgradeStatus, releaseRead } from '../../../../shared/messages/release.ts';
import type { MuxStream } from '../../../../shared/mux/stream.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import {
  type AgentOptions,
  ALONE,
  agentScript,
  filesOf,
  putExecutable,
  releaseOf,
  type ServedOptions,
  serveUpgrades,
  upgradeAgent,
  upgradeHost,
} from '../../../support/upgrades.ts';
import { waitFor } from '../../../support/wait.ts';

const statesOf = (statuses: readonly AgentUpgradeStatus[]) => statuses.map(({ state }) => state);

/** A host, its agent, and one release of version 1.1.0. */
async function oneHost(t: TestContext, options: AgentOptions & Parameters<typeof releaseOf>[2] = {}) {
  const host = await upgradeHost(t);
  const offered = releaseOf(host, '1.1.0', options.script === undefined ? {} : { script: options.script });
  const agent = await upgradeAgent(host, options);
  const serve = (more: ServedOptions = {}) => serveUpgrades(t, agent, { files: [offered], ...more });
  return { host, offered, agent, serve };
}

test('a release is fetched, tried and put in place; the new version settles and says so', async (t) => {
  const { host, offered, agent, serve } = await oneHost(t);
  assert.deepEqual(agent.upgrader.ability(), { able: true, sequence: 0 });
  const server = await serve();
  server.offer(offered.release);
  await waitFor('the way out', () => agent.replacement.replacing.aborted);
  assert.deepEqual(statesOf(server.statuses), ['downloading', 'verifying', 'trying', 'restarting']);
  assert.deepEqual(await filesOf(host), { names: ['fairlead-agent', 'fairlead-agent.previous'], version: '1.1.0' });
  await server.cut();
  assert.equal(await agent.replacement.conclude('stopped', false), true);

  const next = await upgradeAgent(host, { version: '1.1.0' });
  const later = await serveUpgrades(t, next, { wished: offered.release });
  assert.deepEqual(statesOf([await later.said('done')]), ['done']);
  assert.deepEqual(await filesOf(host), { names: ALONE, version: '1.1.0' });
  assert.deepEqual(next.upgrader.ability(), { able: true, sequence: 1 });
  assert.equal(await next.replacement.conclude('stopped', true), false);
  assert.deepEqual(statesOf(later.statuses), ['done']);
});

test('what was downloaded before a cut is not sent again', async (t) => {
  const script = `${agentScript('1.1.0')}# ${'x'.repeat(10)}\n`;
  const { host, offered, agent, serve } = await oneHost(t, { script });
  const half = Math.floor(offered.gz.length / 2);
  const first = await serve({
    wished: offered.release,
    onRead: (stream) => {
      stream.sendReply({ totalBytes: offered.gz.length });
      stream.bytes.on('error', () => undefined).write(offered.gz.subarray(0, half));
    },
  });
  await waitFor('half of it', async () => (await stat(`${host.executable}.part`)).size === half);
  await first.cut();
  const second = await serve({ wished: offered.release });
  await second.said('restarting');
  const [read] = second.reads;
  assert.equal(read?.offset, half);
  assert.equal(agent.replacement.journal.current?.trials, 1);
});

test('what was left of another file does not keep a release from coming', async (t) => {
  const { host, offered, serve } = await oneHost(t);
  const first = await serve({ wished: offered.release, onRead: () => undefined });
  await first.said('downloading');
  await first.cut();
  await writeFile(`${host.executable}.part`, gzipSync('something else').subarray(0, 20));
  const second = await serve({ wished: offered.release });
  await second.said('restarting');
  assert.deepEqual(
    second.reads.map(({ offset }) => offset),
    [20, 0],
  );
});

test('a server that spoils what it has sent, and is gone before that is told, is not asked again and again', async (t) => {
  const { host, offered, serve } = await oneHost(t);
  const half = offered.gz.length >> 1;
  for (let downloads = 0; ; downloads += 1) {
    assert.ok(downloads < 5, `${downloads} downloads`);
    const server = await serve({
      wished: offered.release,
      onRead: (stream) => {
        const isSpoiled = stream.params.offset > 0;
        stream.sendReply({ totalBytes: isSpoiled ? 1 : offered.gz.length });
        stream.bytes.on('error', () => undefined).write(offered.gz.subarray(0, isSpoiled ? 1 : half));
      },
    });
    const isRefused = () => server.statuses.some(({ state }) => state === 'refused');
    const hasHalf = async () => (await stat(`${host.executable}.part`)).size === half;
    await waitFor('a download, or none', async () => {
      return isRefused() || (server.reads.at(-1)?.offset === 0 && (await hasHalf().catch(() => false)));
    });
    if (isRefused()) {
      assert.equal(server.statuses.at(-1)?.code, 'OVERLOADED');
      return;
    }
    await server.cut();
  }
});

test('a release that the server does not wish any more is forgotten', async (t) => {
  const { host, offered, agent, serve } = await oneHost(t);
  const first = await serve({ wished: offered.release, onRead: () => undefined });
  await first.said('downloading');
  await first.cut();
  await appendFile(`${host.executable}.part`, 'x');
  await serve();
  assert.equal(agent.replacement.journal.current, undefined);
  assert.deepEqual((await filesOf(host)).names, ALONE);
});

test('a newer release takes the place of one that is being downloaded, and of none that is further', async (t) => {
  const { host, offered, serve } = await oneHost(t, {
    script: agentScript('1.1.0', { onTry: 'while [ ! -e "$0.go" ]; do sleep 0.05; done' }),
  });
  const newer = releaseOf(host, '1.2.0', { sequence: 2, script: agentScript('1.2.0', { onTry: 'sleep 0.5' }) });
  const server = await serve({
    files: [offered, newer],
    onRead: (stream) => {
      if (stream.params.sha256 === offered.release.sha256) return;
      stream.sendReply({ totalBytes: newer.gz.length });
      stream.bytes.on('error', () => undefined).end(newer.gz);
    },
  });
  server.offer(offered.release);
  await server.said('downloading', 1);
  server.offer(newer.release);
  await server.said('trying', 2);
  const latest = releaseOf(host, '1.3.0', { sequence: 3 });
  server.offer(latest.release);
  const refused = await server.said('refused', 3);
  assert.match(refused.detail ?? '', /1\.2\.0 is under way, and is trying already/);
  await server.said('restarting', 2);
});

test('the same offer again is answered with how far it has come', async (t) => {
  const { offered, serve } = await oneHost(t);
  const server = await serve({ wished: offered.release, onRead: () => undefined });
  await server.said('downloading');
  server.offer(offered.release);
  await waitFor('a second answer', () => server.statuses.length === 2);
  assert.deepEqual(statesOf(server.statuses), ['downloading', 'downloading']);
});

test('what is not for this host is refused, and nothing is downloaded', async (t) => {
  const { host, offered, agent, serve } = await oneHost(t, { version: '1.1.0' });
  const other = generateKeyPairSync('ed25519');
  const { signature } = offered.release;
  const changed = `${signature.startsWith('A') ? 'B' : 'A'}${signature.slice(1)}`;
  const cases = [
    [releaseOf({ privateKey: other.privateKey }, '1.2.0').release, 'RELEASE_INVALID', /not trusted/],
    [{ ...offered.release, signature: changed }, 'RELEASE_INVALID', /is not that of the key/],
    [{ ...offered.release, sequence: 7 }, 'RELEASE_INVALID', /is not that of the key/],
    [offered.release, 'CONFLICT', /1\.1\.0 is not newer than 1\.1\.0/],
    [releaseOf(host, '1.2.0', { os: 'plan9' }).release, 'UNSUPPORTED', /plan9/],
  ] as const;
  const server = await serve();
  for (const [release, code, detail] of cases) {
    const before = server.statuses.length;
    server.offer(release);
    await waitFor('a refusal', () => server.statuses.length > before);
    const status = server.statuses.at(-1);
    assert.deepEqual([status?.state, status?.code], ['refused', code]);
    assert.match(status?.detail ?? '', detail);
  }
  assert.deepEqual(server.reads, []);
  assert.equal(agent.replacement.journal.record.last?.state, 'refused');
  assert.deepEqual((await filesOf(host)).names, ALONE);
});

test('an older version comes only if it is signed as a downgrade, and never by an older sequence', async (t) => {
  const host = await upgradeHost(t, '2.0.0');
  const plain = releaseOf(host, '1.9.0', { sequence: 5 });
  const signed = releaseOf(host, '1.9.0', { sequence: 6, downgrade: true });
  const agent = await upgradeAgent(host, { version: '2.0.0' });
  const server = await serveUpgrades(t, agent, { files: [plain, signed] });
  server.offer(plain.release);
  assert.match((await server.said('refused')).detail ?? '', /not signed as a downgrade/);
  server.offer(signed.release);
  await server.said('restarting');
  await server.cut();
  const back = await upgradeAgent(host, { version: '1.9.0' });
  const later = await serveUpgrades(t, back, { files: [plain] });
  await later.said('done', 6);
  later.offer(releaseOf(host, '2.0.0', { sequence: 5 }).release);
  assert.match((await later.said('refused')).detail ?? '', /sequence 5 is not above 6/);
});

test('an agent that cannot replace itself says why, and refuses', async (t) => {
  const { offered, agent, serve } = await oneHost(t, { inability: 'it does not run as one executable' });
  const reason = 'it does not run as one executable';
  assert.deepEqual(agent.upgrader.ability(), { able: false, reason, sequence: 0 });
  const server = await serve({ wished: offered.release });
  const { code, detail } = await server.said('refused');
  assert.deepEqual([code, detail], ['CONFLICT', `this agent cannot replace itself: ${reason}`]);
});

test('a server that does not name what it takes and serves is told nothing and asked nothing', async (t) => {
  const { offered, agent, serve } = await oneHost(t);
  const server = await serve({ wished: offered.release, capabilities: [] });
  await waitFor('a refusal', () => agent.replacement.journal.record.last?.state === 'refused');
  assert.deepEqual([server.statuses, server.reads], [[], []]);
});

test('as the first process of a container it has no watcher, which could do nothing there', async (t) => {
  for (const pid of [1, 2]) {
    const host = await upgradeHost(t);
    await putExecutable(host.executable, agentScript('1.0.0').replace('echo watching', 'exit 3'));
    const offered = releaseOf(host, '1.1.0');
    const server = await serveUpgrades(t, await upgradeAgent(host, { pid }), {
      wished: offered.release,
      files: [offered],
    });
    await server.said('restarting');
    if (pid === 2) await server.said('failed');
    else await waitFor('the new one', async () => (await filesOf(host)).version === '1.1.0');
  }
});

test('a server whose turn it is not is asked again', async (t) => {
  const { offered, serve } = await oneHost(t);
  let asked = 0;
  const server = await serve({
    wished: offered.release,
    onRead: (stream) => {
      asked += 1;
      stream.reset(new FairleadError(asked === 1 ? 'NOT_FOUND' : 'OVERLOADED', 'no'));
    },
  });
  const { code } = await server.said('failed');
  assert.equal(code, 'NOT_FOUND');
  server.offer(offered.release);
  await waitFor('another question', () => asked === 2);
  assert.equal(server.statuses.at(-1)?.state, 'downloading');
});

test('a download that is cut off again and again is not given up while each attempt brings some of it', async (t) => {
  const clock = new FakeClock();
  const [script, bytes] = ['x'.repeat(8_000_000), Buffer.alloc(WORTHWHILE_BYTES)];
  const { host, offered, serve } = await oneHost(t, { clock, script });
  const part = `${host.executable}.part`;
  let isRead = false;
  const give = async (stream: MuxStream<typeof releaseRead>, index: number) => {
    if (index > MAX_ATTEMPTS + 1) return stream.reset(new FairleadError('NOT_FOUND', 'that is enough'));
    isRead = true;
    stream.sendReply({ totalBytes: script.length });
    stream.bytes.on('error', () => undefined).write(bytes);
    await waitFor('what was sent', async () => (await stat(part)).size === index * bytes.length);
    stream.reset(new FairleadError('OVERLOADED', 'others wait'));
    isRead = false;
  };
  const server = await serve({ wished: offered.release, onRead: (stream) => void give(stream, server.reads.length) });
  const end = await waitFor('its end', () => {
    if (!isRead) clock.advance(RETRY_MIN_MS);
    return server.statuses.find(({ state }) => state === 'failed');
  });
  assert.equal(end.code, 'NOT_FOUND');
  assert.deepEqual(
    server.reads.map(({ offset }) => offset),
    Array.from({ length: MAX_ATTEMPTS + 2 }, (_, index) => index * bytes.length),
  );
});
