/** Any change of an export is found: a bit, a line that is gone, two that changed places. */
import assert from 'node:assert/strict';
import { createHmac, createSecretKey } from 'node:crypto';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import fc from 'fast-check';
import { attestersIn } from '../../certs/attestation.ts';
import { type Ca, createCa, openCa } from '../../certs/authority.ts';
import { checkExport } from '../../server/cli/audit-check.ts';
import { CHECKPOINT_PURPOSE, type ChainRow, checkpointText } from '../../shared/audit-chain.ts';
import { EXPORT_FORMAT, exportCheckpoint, exportEnd, exportRow } from '../../shared/audit-export.ts';
import { systemClock } from '../../shared/clock.ts';
import { aChain, rehashed } from '../unit/shared/audit-chains.ts';

const INSTALLATION = '00000000-0000-4000-8000-000000000000';
const ca: Ca = openCa(await createCa({ installationId: INSTALLATION, clock: systemClock, bits: 2048 }));
const keys = attestersIn(ca.certPem);

async function checkpointOn(rows: readonly ChainRow[], id: number): Promise<object> {
  const statement = {
    kind: 'head' as const,
    id,
    hash: rows[id - 1]?.hash ?? '',
    count: id,
    at: 5,
    signer: ca.fingerprint,
  };
  const signature = await ca.attest(CHECKPOINT_PURPOSE, checkpointText(statement));
  return exportCheckpoint({ ...statement, signature: signature.toString('base64') });
}

async function exportOf(rows: readonly ChainRow[]): Promise<string[]> {
  const half = Math.ceil(rows.length / 2);
  const head = { id: rows.length, hash: rows.at(-1)?.hash ?? '', count: rows.length };
  const records = [
    { type: 'header', format: EXPORT_FORMAT },
    ...rows.slice(0, half).map(exportRow),
    await checkpointOn(rows, half),
    ...rows.slice(half).map(exportRow),
    await checkpointOn(rows, rows.length),
    exportEnd(rows.length, head),
  ];
  return records.map((record) => JSON.stringify(record));
}

const check = (bytes: Buffer) => checkExport(Readable.from([bytes]), { keys, expectHead: undefined });
const joined = (lines: readonly string[]) => Buffer.from(lines.map((line) => `${line}\n`).join(''));

/** What an export says, whatever its white space and escapes. */
function meaning(bytes: Buffer): string | undefined {
  try {
    const lines = bytes
      .toString('utf8')
      .split('\n')
      .filter((line) => line !== '');
    return JSON.stringify(lines.map((line) => JSON.parse(line)));
  } catch {
    return undefined;
  }
}

const lines = await exportOf(aChain(8));

test('an export that nobody touched passes', async () => {
  assert.equal((await check(joined(lines))).head.id, 8);
});

test('a bit that is turned anywhere in an export is found', async () => {
  // Without the checkpoint in the midst: what it says is said by the last one, too, should it be of a CA that is not known.
  const whole = joined(lines.toSpliced(5, 1));
  const before = meaning(whole);
  let same = 0;
  await fc.assert(
    fc.asyncProperty(fc.nat(whole.length - 1), fc.nat(7), async (at, bit) => {
      const turned = Buffer.from(whole);
      turned.writeUInt8((turned[at] ?? 0) ^ (1 << bit), at);
      // A line end that became white space in the same place, for one, says the same.
      if (meaning(turned) === before) same += 1;
      else
        await assert.rejects(
          check(turned),
          `byte ${at}, bit ${bit} turned unseen: …${turned.subarray(at - 30, at + 10)}…`,
        );
    }),
    { numRuns: 1500 },
  );
  assert.ok(same < 50, `${same} changes that change nothing`);
});

test('a record that is removed, doubled or moved is found', async () => {
  const at = fc.nat(lines.length - 1);
  await fc.assert(
    fc.asyncProperty(at, async (index) => {
      const isCheckpoint = index === 5 || index === 10;
      const removed = check(joined(lines.toSpliced(index, 1)));
      // The last signature that is left tells how far it covers the log.
      if (isCheckpoint) assert.equal((await removed).signed.id, index === 5 ? 8 : 4);
      else await assert.rejects(removed);
      if (!isCheckpoint) await assert.rejects(check(joined(lines.toSpliced(index, 0, lines[index] ?? ''))));
    }),
  );
  await fc.assert(
    fc.asyncProperty(at, at, async (a, b) => {
      fc.pre(a !== b);
      const swapped = lines.with(a, lines[b] ?? '').with(b, lines[a] ?? '');
      await assert.rejects(check(joined(swapped)));
    }),
  );
});

test('whatever rows hold, they chain, and another row in their place does not', async () => {
  const text = fc.string({ unit: 'grapheme', maxLength: 20 });
  const row = fc.record({
    actor: text,
    action: text,
    target: fc.option(text),
    detail: fc.dictionary(text, fc.jsonValue()),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(row, { minLength: 1, maxLength: 6 }), fc.nat(5), text, async (made, which, actor) => {
      const rows = rehashed(
        made.map((fields, index) => ({
          ...fields,
          id: index + 1,
          at: 1000 + index,
          address: null,
          result: 'ok',
          detail: JSON.stringify(fields.detail),
          hash: '',
        })),
      );
      const whole = await exportOf(rows);
      assert.equal((await check(joined(whole))).rows, rows.length);
      const index = which % rows.length;
      const victim = rows[index];
      if (victim === undefined || victim.actor === actor) return;
      // With hashes that fit, as somebody makes them who can write to the store but not sign.
      const anew = rehashed(rows.with(index, { ...victim, actor })).map((each) => JSON.stringify(exportRow(each)));
      let next = 0;
      const forged = whole.map((line) => (line.startsWith('{"type":"row"') ? (anew[next++] ?? '') : line));
      await assert.rejects(check(joined(forged)), /rewritten/);
    }),
    { numRuns: 40 },
  );
});

test('a signature by any other key, or for anything else, is none', async () => {
  const checkpoint = JSON.parse(lines.at(-2) ?? '');
  const { type: _, signature: __, ...statement } = checkpoint;
  const text = checkpointText(statement);
  const other = openCa(await createCa({ installationId: INSTALLATION, clock: systemClock, bits: 2048 }));
  const forgeries = [
    await other.attest(CHECKPOINT_PURPOSE, text),
    await ca.attest('something-else', text),
    createHmac('sha256', createSecretKey(Buffer.from('x')))
      .update(text)
      .digest(),
    Buffer.alloc(0),
  ];
  for (const forgery of forgeries) {
    const forged = JSON.stringify({ ...checkpoint, signature: forgery.toString('base64') });
    await assert.rejects(check(joined(lines.with(-2, forged))), /forged/);
  }
  const stranger = { ...statement, signer: other.fingerprint };
  const signature = (await other.attest(CHECKPOINT_PURPOSE, checkpointText(stranger))).toString('base64');
  const forged = JSON.stringify({ type: 'checkpoint', ...stranger, signature });
  await assert.rejects(check(joined(lines.with(-2, forged))), /no trusted CA/);
});
