/** The check of an audit log: what each sort of tampering is told as, and at which row. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type ChainFault,
  type ChainRow,
  type ChainSummary,
  ChainVerifier,
  chainHash,
  type SignedCheckpoint,
} from '../../../shared/audit-chain.ts';
import { aChain, checked, rehashed, signed } from './audit-chains.ts';

type Log = (ChainRow | SignedCheckpoint)[];

function kindOf(end: ChainFault | ChainSummary): [string, number] | 'whole' {
  return 'kind' in end ? [end.kind, end.id] : 'whole';
}

/** Rows 1 to 9, with checkpoints on the fourth and the last. */
function aLog(): { rows: ChainRow[]; log: Log } {
  const rows = aChain(9);
  return { rows, log: [...rows.slice(0, 4), signed(rows, 4), ...rows.slice(4), signed(rows, 9)] };
}

test('a log that nobody touched', async () => {
  const { rows, log } = aLog();
  const end = await checked(log);
  assert.ok(!('kind' in end), JSON.stringify(end));
  assert.deepEqual(
    [end.rows, end.checkpoints, end.head, end.signed.id, end.anchor],
    [9, 2, { id: 9, hash: rows.at(-1)?.hash, count: 9 }, 9, undefined],
  );
});

test('a row that was changed, removed, put in or moved is the one that is named', async () => {
  const { rows, log } = aLog();
  const cut = (...ids: number[]) => log.filter((record) => 'kind' in record || !ids.includes(record.id));
  for (const change of [
    { actor: 'eve' },
    { at: 1 },
    { address: null },
    { target: null },
    { result: 'ok ' },
    { detail: '{}' },
  ]) {
    const changed = log.map((record) => (record.id === 3 && !('kind' in record) ? { ...record, ...change } : record));
    assert.deepEqual(kindOf(await checked(changed)), ['changed', 3], JSON.stringify(change));
  }
  assert.deepEqual(kindOf(await checked(cut(3))), ['missing', 4]);
  assert.deepEqual(kindOf(await checked(cut(1, 2))), ['missing', 3]);
  const [row3, row4] = [rows[2], rows[3]] as [ChainRow, ChainRow];
  const swapped = log.map((record) =>
    'kind' in record ? record : record.id === 3 ? row4 : record.id === 4 ? row3 : record,
  );
  assert.deepEqual(kindOf(await checked(swapped)), ['missing', 4]);
  const twice = [...log.slice(0, 3), row3, ...log.slice(3)];
  assert.deepEqual(kindOf(await checked(twice)), ['order', 3]);
  const renumbered = swapped.map((record) => (record === row4 ? { ...row4, id: 3 } : record));
  assert.deepEqual(kindOf(await checked(renumbered)), ['changed', 3]);
  const fitted = { ...row3, actor: 'eve' };
  const own = { ...fitted, hash: chainHash(rows[1]?.hash ?? '', fitted) };
  assert.deepEqual(kindOf(await checked(log.map((record) => (record === row3 ? own : record)))), ['changed', 4]);
});

test('a log whose hashes were all made anew is found by what was signed', async () => {
  const { rows } = aLog();
  const anew = rehashed(rows.map((row) => (row.id === 2 ? { ...row, actor: 'eve' } : row)));
  assert.deepEqual(kindOf(await checked([...anew, signed(rows, 9)])), ['rewritten', 9]);
  assert.deepEqual(kindOf(await checked([...anew.slice(0, 4), signed(rows, 4), ...anew.slice(4)])), ['rewritten', 4]);
  const fewer = rehashed(rows.filter(({ id }) => id !== 5));
  assert.deepEqual(kindOf(await checked([...fewer, signed(rows, 9)])), ['rewritten', 9]);
  const forged = { ...signed(anew, 9), signature: 'forged' };
  assert.deepEqual(kindOf(await checked([...anew, forged])), ['forged', 9]);
  assert.deepEqual(kindOf(await checked(anew)), ['unsigned', 9]);
});

test('a tail that was cut off is missed by the checkpoint that speaks of it', async () => {
  const { rows } = aLog();
  const end = await checked([...rows.slice(0, 6), signed(rows, 9)]);
  assert.deepEqual(kindOf(end), ['cut', 7]);
  assert.match('kind' in end ? end.message : '', /rows 7 to 9 are missing: the checkpoint of .* still speaks of them/);
  assert.deepEqual(kindOf(await checked([signed(rows, 9)])), ['cut', 1]);
  // Rows that no signature covers yet may be missing without a trace; that is told apart.
  const unsigned = await checked([...rows.slice(0, 4), signed(rows, 4), ...rows.slice(4, 6)]);
  assert.ok(!('kind' in unsigned) && unsigned.signed.id === 4 && unsigned.head.id === 6);
});

test('a CA of before is covered by the one of now, but speaks for nothing by itself', async () => {
  const { rows } = aLog();
  const old = { ...signed(rows, 4), signer: 'old' };
  assert.equal(kindOf(await checked([...rows.slice(0, 4), old, ...rows.slice(4), signed(rows, 9)])), 'whole');
  assert.deepEqual(kindOf(await checked([...rows.slice(0, 4), old])), ['unknown-signer', 4]);
});

test('what was dropped by age is stated by a signature, and by nothing less', async () => {
  const { rows } = aLog();
  const anchor = signed(rows, 3, 'anchor');
  const left = [...rows.slice(3), signed(rows, 9)];
  const end = await checked([anchor, ...left]);
  assert.ok(!('kind' in end), JSON.stringify(end));
  assert.deepEqual([end.anchor?.id, end.rows, end.head.count], [3, 6, 9]);
  assert.deepEqual(kindOf(await checked(left)), ['missing', 4]);
  assert.deepEqual(kindOf(await checked([{ ...anchor, signature: 'forged' }, ...left])), ['forged', 3]);
  assert.deepEqual(kindOf(await checked([{ ...anchor, signer: 'old' }, ...left])), ['unknown-signer', 3]);
  assert.deepEqual(kindOf(await checked([...rows.slice(0, 3), anchor, ...left])), ['order', 3]);
  assert.deepEqual(kindOf(await checked([anchor, ...rows.slice(4), signed(rows, 9)])), ['missing', 5]);
  const wrongCount = { ...anchor, count: 2 };
  assert.deepEqual(kindOf(await checked([{ ...wrongCount, signature: signatureOf(wrongCount) }, ...left])), [
    'rewritten',
    9,
  ]);
});

test('rows by which the server said that its log was changed are pointed out', async () => {
  const rows = rehashed(aChain(3).map((row) => (row.id === 2 ? { ...row, action: 'audit.broken' } : row)));
  const end = await checked([...rows, signed(rows, 3)]);
  assert.ok(!('kind' in end));
  assert.deepEqual(end.reports, [2]);
});

test('an empty log has nothing that speaks for it', async () => {
  assert.deepEqual(kindOf(new ChainVerifier(async () => 'good').end()), ['unsigned', 0]);
});

function signatureOf(checkpoint: SignedCheckpoint): string {
  return signed([], checkpoint.id, checkpoint.kind, checkpoint).signature;
}
