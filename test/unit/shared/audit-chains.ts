/** Audit logs for tests, signed by a key that only tests know. */
import { createHmac } from 'node:crypto';
import {
  type ChainFault,
  type ChainRow,
  type ChainSummary,
  ChainVerifier,
  type Checkpoint,
  chainHash,
  checkpointText,
  GENESIS_HASH,
  type SignedCheckpoint,
} from '../../../shared/audit-chain.ts';

const AT = Date.UTC(2030, 0, 1);

/** Rows 1 to `count`. */
export function aChain(count: number): ChainRow[] {
  return rehashed(
    Array.from({ length: count }, (_, index) => ({
      id: index + 1,
      at: AT + index,
      actor: `actor ${index % 3}`,
      address: '192.0.2.1',
      action: 'host.update',
      target: `host-${index}`,
      result: 'ok',
      detail: JSON.stringify({ n: index }),
      hash: '',
    })),
  );
}

/** The same rows with hashes that fit. */
export function rehashed(rows: readonly ChainRow[]): ChainRow[] {
  let previous = GENESIS_HASH;
  return rows.map((row) => {
    previous = chainHash(previous, row);
    return { ...row, hash: previous };
  });
}

/** What the server would have signed when row `id` was the last one. */
export function signed(
  rows: readonly ChainRow[],
  id: number,
  kind: Checkpoint['kind'] = 'head',
  given?: Checkpoint,
): SignedCheckpoint {
  const hash = rows.find((row) => row.id === id)?.hash ?? '';
  const count = rows.findIndex((row) => row.id === id) + 1;
  const { signature: _, ...statement } = {
    signature: '',
    ...(given ?? { kind, id, hash, count, at: AT, signer: 'ca' }),
  };
  return { ...statement, signature: signature(statement) };
}

/** What the check makes of a log. */
export async function checked(log: readonly (ChainRow | SignedCheckpoint)[]): Promise<ChainFault | ChainSummary> {
  const verifier = new ChainVerifier(async (checkpoint) => {
    if (checkpoint.signer !== 'ca') return 'unknown';
    return checkpoint.signature === signature(checkpoint) ? 'good' : 'forged';
  });
  for (const record of log) {
    const fault = 'kind' in record ? await verifier.checkpoint(record) : verifier.row(record);
    if (fault !== undefined) return fault;
  }
  return verifier.end();
}

function signature(checkpoint: Checkpoint): string {
  return createHmac('sha256', 'key').update(checkpointText(checkpoint)).digest('hex');
}
