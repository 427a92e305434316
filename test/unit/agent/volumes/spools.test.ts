import assert from 'node:assert/strict';
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { test } from 'node:test';
import { type Journal, Spools } from '../../../../agent/volumes/spools.ts';
import { isFairleadError } from '../../../../shared/errors.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { type Cleanup, tempDir } from '../../../support/tmp.ts';

const DAY_MS = 24 * 60 * 60_000;
const coded = (code: Parameters<typeof isFairleadError>[1]) => (error: unknown) => isFairleadError(error, code);
const sumOf = (bytes: Buffer) => ({ bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') });
const nobody = () => false;

async function setUp(t: Cleanup) {
  const directory = join(await tempDir(t, 'spools'), 'volumes');
  const clock = new FakeClock(Date.now());
  return {
    directory,
    clock,
    spools: new Spools(directory, clock),
    files: async () => (await readdir(directory)).sort(),
  };
}

test('what came before a cut stays, and what another process has kept is found again', async (t) => {
  const { spools, directory, clock } = await setUp(t);
  const [id, bytes] = [randomUUID(), randomBytes(10_000)];
  const source = new PassThrough();
  const cut = assert.rejects(spools.receive(id, source, { offset: 0, estimate: 10_000 }), /cut/);
  source.write(bytes.subarray(0, 4_000), () => source.destroy(new Error('cut')));
  await assert.rejects(spools.receive(id, Readable.from([]), { offset: 0, estimate: 0 }), coded('OVERLOADED'));
  await cut;
  const had = await spools.has(id);
  assert.deepEqual(had, sumOf(bytes.subarray(0, had.bytes)));
  assert.equal((await stat(join(directory, `${id}.tar`))).mode & 0o777, 0o600);
  const next = new Spools(directory, clock);
  assert.deepEqual(await next.has(id), had);
  const rest = (offset: number) =>
    next.receive(id, Readable.from([bytes.subarray(offset)]), { offset, estimate: 10_000 });
  await assert.rejects(rest(had.bytes + 1), coded('CONFLICT'));
  assert.deepEqual(await rest(had.bytes), sumOf(bytes));
  assert.deepEqual(await rest(1_000), sumOf(bytes), 'what is beyond the offset gives way');
  await next.verified(id, sumOf(bytes));
});

test('a disk without room is told before anything is written', async (t) => {
  const { spools, files } = await setUp(t);
  const far = { offset: 0, estimate: Number.MAX_SAFE_INTEGER };
  await assert.rejects(spools.receive(randomUUID(), Readable.from([Buffer.alloc(1)]), far), coded('CONFLICT'));
  assert.deepEqual(await files(), []);
});

test('what is abandoned goes after a day; what a volume may still need stays', async (t) => {
  const { spools, directory, clock, files } = await setUp(t);
  const [abandoned, undoable, done, damaged, inUse] = Array.from({ length: 5 }, () => randomUUID());
  const make = { driver: 'local', options: {}, labels: {} };
  const journal: Journal = { volume: 'v', state: 'undoable', before: 'full', make, at: clock.now() };
  for (const id of [abandoned, undoable, done, damaged, inUse]) {
    await spools.receive(id ?? '', Readable.from([Buffer.alloc(10)]), { offset: 0, estimate: 10 });
  }
  await spools.writeJournal(undoable ?? '', journal);
  await spools.writeJournal(done ?? '', { ...journal, state: 'done' });
  await writeFile(join(directory, `${damaged}.json`), '{"volume":');
  await assert.rejects(spools.readJournal(damaged ?? ''), coded('VALIDATION'));
  assert.equal(await spools.sweep(nobody), 0);
  clock.advance(DAY_MS + 60_000);
  assert.equal(await spools.sweep((id) => id === inUse), 2);
  const kept = [`${undoable}.json`, `${undoable}.tar`, `${damaged}.json`, `${damaged}.tar`, `${inUse}.tar`];
  assert.deepEqual(await files(), kept.sort());
});
