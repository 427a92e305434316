import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { pino } from 'pino';
import { stateError } from '../../../../agent/identity/state-dir.ts';
import { readRun, StateLock } from '../../../../agent/identity/state-lock.ts';
import { isFairleadError } from '../../../../shared/errors.ts';
import { tempDir } from '../../../support/tmp.ts';

const deps = { log: pino({ level: 'silent' }), now: () => 1_700_000_000_000 };

test('one process holds a state directory at a time', async (t) => {
  const dir = await tempDir(t, 'lock');
  const lock = StateLock.claim(dir, 'connecting', deps);
  assert.throws(
    () => StateLock.claim(dir, 'connecting', deps),
    (error) => isFairleadError(error, 'CONFLICT') && error.message.includes(`pid ${process.pid}`),
  );
  lock.release();
  lock.release();
  assert.deepEqual(readdirSync(dir), []);
  StateLock.claim(dir, 'connecting', deps).release();
});

test('what cannot be read is told with the directory, and whose user may', async (t) => {
  const dir = await tempDir(t, 'lock');
  // As root everything can be read, but for this.
  mkdirSync(join(dir, 'run.json'));
  assert.throws(
    () => readRun(dir),
    (error) =>
      isFairleadError(error, 'VALIDATION') && error.message === `the state directory ${dir} cannot be read (EISDIR)`,
  );
  const denied = stateError(dir, 'cannot be read', Object.assign(new Error('no'), { code: 'EACCES' }));
  assert.match(denied.message, /\(EACCES\); run as its owner or as root, or choose another --state-dir$/);
});

test('run.json tells the state for as long as the process lives', async (t) => {
  const dir = await tempDir(t, 'lock');
  const lock = StateLock.claim(dir, 'connecting', deps);
  lock.update('online', 'web-1');
  const run = readRun(dir);
  assert.equal(run?.pid, process.pid);
  assert.equal(run?.state, 'online');
  assert.equal(run?.detail, 'web-1');
  assert.equal(run?.since, '2023-11-14T22:13:20.000Z');
  lock.release();
  assert.equal(readRun(dir), undefined);
  lock.update('waiting');
  assert.equal(readRun(dir), undefined, 'an update after the release writes nothing');
});

test('what is noted stays through the states, and does not change since when they are', async (t) => {
  const dir = await tempDir(t, 'lock');
  let now = deps.now();
  const lock = StateLock.claim(dir, 'connecting', { ...deps, now: () => now });
  lock.update('online', 'web-1');
  now += 60_000;
  lock.note({ docker: { reachable: true, version: '20.10.5' } });
  lock.note({ renewsAt: '2030-01-01T00:00:00.000Z' });
  const run = readRun(dir);
  assert.deepEqual([run?.state, run?.detail, run?.since], ['online', 'web-1', '2023-11-14T22:13:20.000Z']);
  assert.deepEqual([run?.docker?.version, run?.renewsAt], ['20.10.5', '2030-01-01T00:00:00.000Z']);
  lock.update('waiting', 'refused');
  assert.deepEqual([readRun(dir)?.state, readRun(dir)?.docker?.reachable], ['waiting', true]);
  lock.release();
  lock.note({ renewsAt: 'never' });
  assert.equal(readRun(dir), undefined);
});

test('the record of a dead process, or of another one with its pid, is stale', async (t) => {
  const dir = await tempDir(t, 'lock');
  const child = spawn(process.execPath, ['-e', '']);
  await once(child, 'exit');
  const path = join(dir, 'run.json');
  const since = new Date(0).toISOString();
  writeFileSync(path, JSON.stringify({ pid: child.pid, state: 'online', since }));
  assert.equal(readRun(dir), undefined);
  StateLock.claim(dir, 'connecting', deps).release();
  writeFileSync(path, JSON.stringify({ pid: process.pid, start: 'another-boot:1', state: 'online', since }));
  assert.equal(readRun(dir), undefined);
  const lock = StateLock.claim(dir, 'connecting', deps);
  assert.deepEqual(readdirSync(dir), ['run.json']);
  lock.release();
});

test('a damaged record holds nobody up', async (t) => {
  const dir = await tempDir(t, 'lock');
  writeFileSync(join(dir, 'run.json'), '{"pid":');
  assert.equal(readRun(dir), undefined);
  const lock = StateLock.claim(dir, 'enrolling', deps);
  assert.equal(JSON.parse(readFileSync(join(dir, 'run.json'), 'utf8')).state, 'enrolling');
  lock.release();
});
