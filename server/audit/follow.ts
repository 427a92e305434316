/** Goes on from a row of the audit log to its last one, and says where that is or what is wrong on the way. */
import { setImmediate } from 'node:timers/promises';
import { type ChainFault, type ChainPosition, type ChainRow, isFault, nextPosition } from '../../shared/audit-chain.ts';
import type { AuditRows } from '../store/audit-rows.ts';
import { PAGE_ROWS } from './chain-records.ts';

/** @param from a row that is known to be good, or one that was dropped as good, or the beginning */
export async function follow(
  audit: Pick<AuditRows, 'read' | 'find'>,
  from: ChainPosition,
  isDropped: boolean,
): Promise<ChainPosition | ChainFault> {
  if (from.id > 0 && !isDropped) {
    const row = await audit.find(from.id);
    if (row === undefined) {
      return {
        kind: 'cut',
        id: from.id,
        message: `row ${from.id} was signed and is missing: the log was cut or rewound`,
      };
    }
    if (row.hash !== from.hash) {
      return {
        kind: 'rewritten',
        id: from.id,
        message: `row ${from.id} is not the one that was signed: the log was rewritten`,
      };
    }
  }
  let position = from;
  for await (const row of rowsAfter(audit, from.id)) {
    const next = nextPosition(position, row);
    if (isFault(next)) return next;
    position = next;
  }
  return position;
}

/** The last row, taken as it is, with the number of rows up to it. For a log that is known to be broken. */
export async function endOf(audit: Pick<AuditRows, 'read'>, from: ChainPosition): Promise<ChainPosition> {
  let position = from;
  for await (const row of rowsAfter(audit, from.id)) {
    position = { id: row.id, hash: row.hash, count: position.count + 1 };
  }
  return position;
}

async function* rowsAfter(audit: Pick<AuditRows, 'read'>, from: number): AsyncGenerator<ChainRow> {
  let after = from;
  for (;;) {
    const rows = await audit.read(after, Number.MAX_SAFE_INTEGER, PAGE_ROWS);
    yield* rows;
    const end = rows.at(-1);
    if (end === undefined || rows.length < PAGE_ROWS) return;
    after = end.id;
    await setImmediate();
  }
}
