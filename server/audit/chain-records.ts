/** The audit log as it is checked and exported: the anchor, then rows and checkpoints in the order of their rows. */
import { setImmediate } from 'node:timers/promises';
import { type ChainRow, GENESIS, type SignedCheckpoint } from '../../shared/audit-chain.ts';
import { FairleadError } from '../../shared/errors.ts';
import type { Tables } from '../store/all-tables.ts';

export type ChainRecord = { readonly row: ChainRow } | { readonly checkpoint: SignedCheckpoint };
export type ChainTables = Pick<Tables, 'audit' | 'auditCheckpoints'>;

/** Rows that are read and handled in one turn. */
export const PAGE_ROWS = 200;
/** More checkpoints than this on the rows of one page are left for the next one. */
const PAGE_CHECKPOINTS = 1_000;

/**
 * All of the log as it is when the reading begins, in pages; others get a turn between two of them.
 * @throws FairleadError CONFLICT if rows that were still to be read were dropped by age meanwhile
 */
export async function* chainRecords({ audit, auditCheckpoints }: ChainTables): AsyncGenerator<ChainRecord[]> {
  // First what was signed, then the rows: none of it can speak of a row that came later.
  const seq = await auditCheckpoints.lastSeq();
  const anchor = await auditCheckpoints.last('anchor');
  const last = (await audit.head())?.id ?? anchor?.id ?? 0;
  if (anchor !== undefined) yield [{ checkpoint: anchor }];
  const heads = checkpointsInOrder(auditCheckpoints, anchor?.id ?? 0, seq);
  let next = await heads.next();
  let after = Number.MIN_SAFE_INTEGER;
  while (after < last) {
    const rows = await audit.read(after, last, PAGE_ROWS);
    const standing = await auditCheckpoints.last('anchor');
    if (standing !== undefined && standing.id > Math.max(after, anchor?.id ?? 0)) throw droppedMeanwhile();
    const page: ChainRecord[] = [];
    for (const row of rows) {
      for (; !next.done && next.value.id < row.id; next = await heads.next()) page.push({ checkpoint: next.value });
      page.push({ row });
      for (; !next.done && next.value.id === row.id; next = await heads.next()) page.push({ checkpoint: next.value });
    }
    yield page;
    const end = rows.at(-1);
    if (end === undefined) break;
    after = end.id;
    await setImmediate();
  }
  // On rows that are no longer there.
  for (; !next.done; next = await heads.next()) yield [{ checkpoint: next.value }];
}

async function* checkpointsInOrder(
  table: ChainTables['auditCheckpoints'],
  from: number,
  seq: number,
): AsyncGenerator<SignedCheckpoint> {
  let after = from;
  for (;;) {
    const page = await table.heads(after, Number.MAX_SAFE_INTEGER, seq, PAGE_CHECKPOINTS);
    const end = page.at(-1);
    if (end === undefined) return;
    // Several may stand on one row: a page never ends in the midst of those.
    const whole = page.length < PAGE_CHECKPOINTS ? page : page.filter(({ id }) => id < end.id);
    if (whole.length === 0) throw new FairleadError('INTERNAL', `too many checkpoints stand on row ${end.id}`);
    yield* whole;
    after = whole.at(-1)?.id ?? GENESIS.id;
  }
}

function droppedMeanwhile(): FairleadError {
  return new FairleadError('CONFLICT', 'old rows were dropped while the log was read; read it again');
}
