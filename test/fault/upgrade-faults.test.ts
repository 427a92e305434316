/**
 * Releases that are not what they should be, servers that do not send what they should, and disks without room: the agent
 * stays what it was.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { dirname, join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { durableDisk } from '../../agent/upgrade/files.ts';
import { FairleadError } from '../../shared/errors.ts';
import type { AgentUpgradeStatus } from '../../shared/messages/release.ts';
import { defer } from '../support/tmp.ts';
import {
  type AgentOptions,
  ALONE,
  agentScript,
  filesOf,
  type OfferedRelease,
  putExecutable,
  releaseOf,
  type ServedOptions,
  sendFile,
  serveUpgrades,
  type UpgradeHost,
  upgradeAgent,
  upgradeHost,
} from '../support/upgrades.ts';
import { waitFor } from '../support/wait.ts';

const MIB = 1024 * 1024;

interface Fault extends AgentOptions, Pick<ServedOptions, 'onRead'> {
  /** What the server sends in the place of the release's own file. */
  readonly gz?: (offered: OfferedRelease) => Buffer;
  readonly host?: UpgradeHost;
}

/** Offers a release, which must fail and leave nothing. @returns how it failed, and whether it would be tried again */
async function failure(t: TestContext, script: string, fault: Fault = {}) {
  const { gz, onRead, host: given, ...options } = fault;
  const host = given ?? (await upgradeHost(t));
  const offered = releaseOf(host, '1.1.0', { script });
  const agent = await upgradeAgent(host, options);
  const files = [gz === undefined ? offered : { ...offered, gz: gz(offered) }];
  const served = { wished: offered.release, files, ...(onRead === undefined ? {} : { onRead }) };
  const server = await serveUpgrades(t, agent, served);
  const status = await server.said('failed');
  assert.deepEqual(await filesOf(host), { names: ALONE, version: '1.0.0' });
  const { record } = agent.replacement.journal;
  assert.deepEqual([record.current, record.last?.state, record.sequence], [undefined, 'failed', 0]);
  assert.equal(agent.replacement.replacing.aborted, false);
  return { status, isRefused: record.refused.length > 0, host, offered, server, agent };
}

function check({ code, detail }: AgentUpgradeStatus, expected: string, text: RegExp): void {
  assert.equal(code, expected, detail ?? '');
  assert.match(detail ?? '', text);
}

test('a file with a bit flipped, another file, and one that is cut off are not run', async (t) => {
  const flipped = (bytes: Buffer) => {
    const copy = Buffer.from(bytes);
    copy.writeUInt8(copy.readUInt8(copy.length >> 1) ^ 1, copy.length >> 1);
    return copy;
  };
  const script = `#!/bin/sh\ntouch "$0.was-run"\n${agentScript('1.1.0').slice(10)}`;
  const cases: [(offered: OfferedRelease) => Buffer, RegExp][] = [
    [({ gz }) => flipped(gz), /cannot be unpacked|has the sha256|bytes, and/],
    [() => gzipSync(flipped(Buffer.from(script))), /has the sha256 [0-9a-f]{64}, and [0-9a-f]{64} was signed/],
    [() => gzipSync(`${script}#`), /is more than the \d+ bytes that were signed/],
    [() => gzipSync(script.slice(1)), /has \d+ bytes, and \d+ were signed/],
    [({ gz }) => gz.subarray(0, -9), /cannot be unpacked \(Z_/],
    [() => Buffer.from(script), /cannot be unpacked \(Z_DATA_ERROR\)/],
  ];
  for (const [gz, text] of cases) {
    const { status, isRefused } = await failure(t, script, { gz });
    check(status, 'RELEASE_INVALID', text);
    assert.equal(isRefused, false);
  }
});

test('a download without end is left as soon as it is more than was signed, packed or unpacked', async (t) => {
  const script = agentScript('1.1.0');
  let sent = 0;
  const endless = await failure(t, script, {
    onRead: (stream) => {
      stream.sendReply({ totalBytes: 1000 });
      const more = () => {
        while (sent < 64 * MIB) {
          sent += 64 * 1024;
          if (!stream.bytes.write(Buffer.alloc(64 * 1024))) return;
        }
      };
      stream.bytes.on('error', () => undefined).on('drain', more);
      more();
    },
  });
  check(endless.status, 'RELEASE_INVALID', /more came than the 1000 bytes/);
  assert.ok(sent < 4 * MIB, `${sent} bytes were sent`);

  const large = await failure(t, script, { onRead: (stream) => stream.sendReply({ totalBytes: 400 * MIB }) });
  check(large.status, 'RELEASE_INVALID', /419430400 bytes, which a release of \d+ bytes with 0 here cannot have/);

  const bomb = await failure(t, script, { gz: () => gzipSync(Buffer.alloc(40 * MIB)) });
  check(bomb.status, 'RELEASE_INVALID', /is more than the \d+ bytes that were signed/);
});

test('a disk with too little room is not filled', async (t) => {
  const disk = { ...durableDisk, free: async () => 16 * MIB };
  const { status, isRefused } = await failure(t, agentScript('1.1.0'), { disk });
  check(status, 'CONFLICT', /too little space in .*: 16 MiB are free, and 17 MiB are needed/);
  assert.equal(isRefused, false);
});

test('a disk that is really full, under the download and under what is unpacked', async (t) => {
  const noise = `${agentScript('1.1.0')}exit\n${randomBytes(2 * MIB).toString('base64')}`;
  const zeros = `${agentScript('1.1.0')}exit\n${'#'.repeat(4 * MIB)}`;
  for (const script of [noise, zeros]) {
    const host = await upgradeHost(t);
    const dir = dirname(host.executable);
    const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${MIB},mode=0755`, 'tmpfs', dir]);
    if (mounted.status !== 0) {
      t.diagnostic('not run: only root can mount a small disk');
      return;
    }
    defer(t, () => spawnSync('umount', ['--lazy', dir]));
    await putExecutable(host.executable, agentScript('1.0.0'));
    const disk = { ...durableDisk, free: async () => Number.POSITIVE_INFINITY };
    const { status, isRefused } = await failure(t, script, { host, disk });
    check(status, 'CONFLICT', /^the disk under .* is full: free some space$/);
    assert.equal(isRefused, false);
  }
});

test('what fails its trial is not tried again, until another release comes', async (t) => {
  const answer = (text: string) => agentScript('1.1.0', { onTry: `echo '${text}'; exit 0` });
  const cases: [string, RegExp, AgentOptions?][] = [
    [agentScript('1.1.0', { onTry: 'echo "fairlead-agent: no way" >&2; exit 1' }), /it ended with 1: no way$/],
    [agentScript('1.1.0', { onTry: 'kill -9 $$' }), /it ended with a signal/],
    [agentScript('1.1.0', { onTry: 'sleep 60' }), /did not show within 0\.3 s/, { trialMs: 300 }],
    [agentScript('1.2.0'), /it says that it is 1\.2\.0 instead of 1\.1\.0/],
    [agentScript('1.1.0'), /Docker does not answer to it/, { dockerAnswers: () => true }],
    [answer('{"try":2}'), /does not say what a trial says/],
    [answer('no JSON'), /does not say what a trial says/],
    [`#!/nowhere\n${agentScript('1.1.0')}`, /it cannot be started \(ENOENT\)/],
  ];
  for (const [script, text, options] of cases) {
    const { status, isRefused, offered, server, agent, host } = await failure(t, script, options);
    check(status, 'CONFLICT', text);
    assert.equal(isRefused, true);
    server.offer(offered.release);
    assert.match(
      (await server.said('refused')).detail ?? '',
      /has failed here and is not tried again: the trial failed/,
    );
    await server.cut();
    const again = await serveUpgrades(t, await upgradeAgent(host), { wished: offered.release, files: [offered] });
    await again.said('failed');
    assert.deepEqual([again.statuses.length, again.reads.length], [1, 0]);
    assert.deepEqual(agent.upgrader.ability(), { able: true, sequence: 0, refused: [1] });
  }
});

test('a trial that fails because the server is gone is not held against the release, three times', async (t) => {
  const host = await upgradeHost(t);
  const offered = releaseOf(host, '1.1.0', { script: agentScript('1.1.0', { onTry: 'touch "$0.tried"; sleep 60' }) });
  const agent = await upgradeAgent(host);
  for (let trial = 1; trial <= 3; trial += 1) {
    const server = await serveUpgrades(t, agent, { wished: offered.release, files: [offered] });
    await waitFor('a trial', async () => (await filesOf(host)).names.includes('fairlead-agent.next.tried'));
    await server.cut();
    assert.deepEqual(
      [agent.replacement.journal.current?.trials, agent.replacement.journal.record.refused],
      [trial, []],
    );
    spawnSync('rm', [`${host.executable}.next.tried`]);
  }
  const server = await serveUpgrades(t, agent, { wished: offered.release, files: [offered] });
  check(await server.said('failed'), 'CONFLICT', /each of 3 trials of it was cut short/);
  assert.deepEqual(await filesOf(host), { names: ALONE, version: '1.0.0' });
});

test('a trial that is refused since the wish was taken back is not held against the release, which may be wished again', async (t) => {
  const host = await upgradeHost(t);
  const may = join(dirname(dirname(host.executable)), 'may');
  const offered = releaseOf(host, '1.1.0', { script: agentScript('1.1.0', { onTry: `test -e ${may} || exit 1` }) });
  const agent = await upgradeAgent(host);
  const server = await serveUpgrades(t, agent, {
    wished: offered.release,
    onRead: (stream) => {
      if (server.reads.length === 1) sendFile(stream, [offered]);
      else stream.reset(new FairleadError('FORBIDDEN', 'no release with this SHA-256 was offered to this host'));
    },
  });
  await waitFor('the question', () => server.reads.length === 2);
  assert.equal(server.reads[1]?.offset, offered.gz.length, 'nothing is sent twice');
  const { journal } = agent.replacement;
  await waitFor('the end', () => journal.current === undefined);
  assert.deepEqual([journal.record.refused, journal.record.last], [[], undefined]);
  await waitFor('what is left to go', async () => (await filesOf(host)).names.length === ALONE.length);
  assert.deepEqual(await filesOf(host), { names: ALONE, version: '1.0.0' });
  assert.deepEqual(
    server.statuses.filter(({ state }) => state === 'failed'),
    [],
  );
  await server.cut();

  spawnSync('touch', [may]);
  const again = await serveUpgrades(t, agent, { wished: offered.release, files: [offered] });
  await again.said('restarting');
});

test('without a watcher nothing is left to chance: the old version is put back', async (t) => {
  const host = await upgradeHost(t);
  await putExecutable(host.executable, agentScript('1.0.0').replace('echo watching', 'exit 3'));
  const { status, isRefused } = await failure(t, agentScript('1.1.0'), { host });
  check(status, 'CONFLICT', /nobody watches over the new version: it ended with 3/);
  assert.equal(isRefused, false);
});

test('a release that the server has lost is a failure, and comes when it is asked for again', async (t) => {
  const gone = new FairleadError('NOT_FOUND', 'there is no such release');
  const { status, host, offered } = await failure(t, agentScript('1.1.0'), { onRead: (stream) => stream.reset(gone) });
  check(status, 'NOT_FOUND', /no such release/);
  const again = await serveUpgrades(t, await upgradeAgent(host), { wished: offered.release, files: [offered] });
  await again.said('restarting');
});
