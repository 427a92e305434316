/** The server's own check of its audit log, and the log as NDJSON for everybody else's. */
import {
  type ChainFault,
  type ChainPosition,
  type ChainSummary,
  ChainVerifier,
  GENESIS,
  type SignatureCheck,
} from '../../shared/audit-chain.ts';
import { EXPORT_FORMAT, exportCheckpoint, exportEnd, exportRow } from '../../shared/audit-export.ts';
import { type ChainTables, chainRecords } from './chain-records.ts';

/** @throws FairleadError CONFLICT as `chainRecords` */
export async function verifyLog(tables: ChainTables, check: SignatureCheck): Promise<ChainFault | ChainSummary> {
  const verifier = new ChainVerifier(check);
  for await (const page of chainRecords(tables)) {
    for (const record of page) {
      const fault = 'row' in record ? verifier.row(record.row) : await verifier.checkpoint(record.checkpoint);
      if (fault !== undefined) return fault;
    }
  }
  return verifier.end();
}

/** The text of an export, a page at a time. @throws FairleadError CONFLICT as `chainRecords` */
export async function* exportLog(tables: ChainTables): AsyncGenerator<string> {
  yield line({ type: 'header', format: EXPORT_FORMAT });
  let rows = 0;
  let head: ChainPosition = GENESIS;
  for await (const page of chainRecords(tables)) {
    let text = '';
    for (const record of page) {
      if ('row' in record) {
        const { row } = record;
        rows += 1;
        head = { id: row.id, hash: row.hash, count: head.count + 1 };
        text += line(exportRow(row));
      } else {
        if (record.checkpoint.kind === 'anchor') head = record.checkpoint;
        text += line(exportCheckpoint(record.checkpoint));
      }
    }
    yield text;
  }
  yield line(exportEnd(rows, head));
}

function line(record: Record<string, unknown>): string {
  return `${JSON.stringify(record)}\n`;
}
