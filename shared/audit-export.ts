/** The audit log as NDJSON: a header, then rows and checkpoints in the order in which they are checked, then an end. */
import Type, { type Static } from 'typebox';
import type { ChainPosition, ChainRow, SignedCheckpoint } from './audit-chain.ts';

export const EXPORT_FORMAT = 'fairlead-audit-v1';

const Hash = Type.String({ pattern: '^[0-9a-f]{64}$' });
const Whole = Type.Integer({ minimum: 0 });
const Nullable = Type.Union([Type.String(), Type.Null()]);
const strict = { additionalProperties: false };
const Position = { id: Whole, hash: Hash, count: Whole };

// Nothing stands in an export that no hash and no signature covers, so that nothing in it can be changed unseen.
export const ExportHeader = Type.Object({ type: Type.Literal('header'), format: Type.Literal(EXPORT_FORMAT) }, strict);
/** Times are RFC 3339 with ms, in UTC. */
export const ExportRow = Type.Object(
  {
    type: Type.Literal('row'),
    id: Whole,
    at: Type.String(),
    actor: Type.String(),
    address: Nullable,
    action: Type.String(),
    target: Nullable,
    result: Type.String(),
    detail: Type.Unknown(),
    hash: Hash,
  },
  strict,
);
export const ExportCheckpoint = Type.Object(
  {
    type: Type.Literal('checkpoint'),
    kind: Type.Union([Type.Literal('head'), Type.Literal('anchor')]),
    ...Position,
    at: Whole,
    signer: Type.String(),
    signature: Type.String({ maxLength: 4096 }),
  },
  strict,
);
/** Without it, an export was cut off on its way. */
export const ExportEnd = Type.Object(
  { type: Type.Literal('end'), rows: Whole, head: Type.Object(Position, strict) },
  strict,
);
export const ExportRecord = Type.Union([ExportHeader, ExportRow, ExportCheckpoint, ExportEnd]);
export type ExportRecord = Static<typeof ExportRecord>;

/** A row as it leaves the server. What somebody wrote into the table that is no JSON or no time goes out as it is. */
export function exportRow(row: ChainRow): Record<string, unknown> {
  const { id, at, actor, address, action, target, result, detail, hash } = row;
  return { type: 'row', id, at: time(at), actor, address, action, target, result, detail: object(detail), hash };
}

/** The row that a record stands for. */
export function rowOf(record: Static<typeof ExportRow>): ChainRow {
  const { type: _, at, detail, ...fields } = record;
  const ms = Date.parse(at);
  // A time that is written in another way is another text, and must not pass for the one that was hashed.
  const isCanonical = !Number.isNaN(ms) && new Date(ms).toISOString() === at;
  return { ...fields, at: isCanonical ? ms : Number.NaN, detail: JSON.stringify(detail) };
}

export function exportCheckpoint(checkpoint: SignedCheckpoint): Record<string, unknown> {
  return { type: 'checkpoint', ...checkpoint };
}

export function exportEnd(rows: number, { id, hash, count }: ChainPosition): Record<string, unknown> {
  return { type: 'end', rows, head: { id, hash, count } };
}

function time(at: number): unknown {
  return Number.isInteger(at) && Math.abs(at) <= 8.64e15 ? new Date(at).toISOString() : at;
}

function object(detail: string): unknown {
  try {
    const value: unknown = JSON.parse(detail);
    return JSON.stringify(value) === detail ? value : detail;
  } catch {
    return detail; // a text in place of an object: whoever checks the row finds that it does not fit its hash
  }
}
