/**
 * The hash chain of the audit log: what binds a row to those before it, what is signed of it, and the check of a whole
 * log from its first row on. Server and clients run the same check, each on what it has read itself.
 */
import { hash } from 'node:crypto';

/** What the first row follows. */
export const GENESIS_HASH = '0'.repeat(64);
/** What a signature under a checkpoint is for; it is none of anything else. */
export const CHECKPOINT_PURPOSE = 'audit-checkpoint-v1';
/** The action of a row by which the server says that it found its log changed. */
export const BROKEN_ACTION = 'audit.broken';

/** The fields of a row that its hash covers. */
export interface ChainFields {
  readonly id: number;
  /** ms since 1970. */
  readonly at: number;
  readonly actor: string;
  readonly address: string | null;
  readonly action: string;
  readonly target: string | null;
  readonly result: string;
  /** A JSON object, as `JSON.stringify` writes it. */
  readonly detail: string;
}

export interface ChainRow extends ChainFields {
  /** Lower-case hex. */
  readonly hash: string;
}

/** A row that the chain goes on from. */
export interface ChainPosition {
  readonly id: number;
  readonly hash: string;
  /** Rows from the first one ever up to this one. */
  readonly count: number;
}

export const GENESIS: ChainPosition = { id: 0, hash: GENESIS_HASH, count: 0 };

/** What the server has signed of its log: `head` was its last row then; `anchor` is the last row that was dropped by age. */
export interface Checkpoint extends ChainPosition {
  readonly kind: 'head' | 'anchor';
  /** ms since 1970. */
  readonly at: number;
  /** The pin of the key that signed. */
  readonly signer: string;
}

export interface SignedCheckpoint extends Checkpoint {
  /** Base64. */
  readonly signature: string;
}

/** The hash of a row that follows one with the hash `previous`. */
export function chainHash(previous: string, row: ChainFields): string {
  const { id, at, actor, address, action, target, result, detail } = row;
  const fields = JSON.stringify([id, at, actor, address, action, target, result, detail]);
  return hash('sha256', `fairlead-audit-row-v1\n${previous}\n${fields}`, 'hex');
}

/** What the signature of a checkpoint covers, besides its purpose. */
export function checkpointText({ kind, id, hash: rowHash, count, at, signer }: Checkpoint): string {
  return JSON.stringify({ kind, id, hash: rowHash, count, at, signer });
}

/** What is wrong with a log, at the first place where something is. */
export interface ChainFault {
  readonly kind: 'changed' | 'missing' | 'order' | 'rewritten' | 'cut' | 'forged' | 'unknown-signer' | 'unsigned';
  /** The row at which it shows. */
  readonly id: number;
  /** One sentence for a person. */
  readonly message: string;
}

/** What is known of a log that is whole. */
export interface ChainSummary {
  readonly rows: number;
  readonly checkpoints: number;
  readonly head: ChainPosition;
  /** What was dropped by age before the first row. */
  readonly anchor: ChainPosition | undefined;
  /** The last row that a signature covers. */
  readonly signed: { readonly id: number; readonly at: number; readonly signer: string };
  /** Ids of rows by which the server said that it had found its log changed. */
  readonly reports: readonly number[];
}

/** Whether a checkpoint's signature is that of a CA that is trusted; `unknown`: of a key that is none of those. */
export type SignatureCheck = (checkpoint: SignedCheckpoint) => Promise<'good' | 'forged' | 'unknown'>;

const MAX_REPORTS = 100;

/**
 * Checks a log: rows in their order, each checkpoint after the row it speaks of, an anchor before everything else.
 * The first fault is final: what comes after it cannot be judged.
 */
export class ChainVerifier {
  readonly #check: SignatureCheck;
  #previous: ChainPosition = GENESIS;
  #anchor: ChainPosition | undefined;
  #rows = 0;
  #checkpoints = 0;
  #signed: ChainSummary['signed'] | undefined;
  /** Signed by a key that is not known, and not yet followed by one that is: a later signature covers earlier rows too. */
  #unknown: SignedCheckpoint | undefined;
  readonly #reports: number[] = [];

  constructor(check: SignatureCheck) {
    this.#check = check;
  }

  row(row: ChainRow): ChainFault | undefined {
    const next = nextPosition(this.#previous, row);
    if (isFault(next)) return next;
    this.#previous = next;
    this.#rows += 1;
    if (row.action === BROKEN_ACTION && this.#reports.length < MAX_REPORTS) this.#reports.push(row.id);
    return undefined;
  }

  async checkpoint(checkpoint: SignedCheckpoint): Promise<ChainFault | undefined> {
    const signature = await this.#check(checkpoint);
    const { id, at, signer } = checkpoint;
    const name = `the checkpoint of ${timeOf(at)} on row ${id}`;
    if (signature === 'forged') return fault('forged', id, `${name} is forged: its signature does not fit`);
    this.#checkpoints += 1;
    if (checkpoint.kind === 'anchor') return this.#begin(checkpoint, signature === 'good', name);
    const found = this.#compare(checkpoint, name);
    if (found !== undefined) return found;
    if (signature === 'good') this.#signed = { id, at, signer };
    this.#unknown = signature === 'good' ? undefined : checkpoint;
    return undefined;
  }

  /** What the log comes to once all of it was seen. */
  end(): ChainFault | ChainSummary {
    if (this.#unknown !== undefined) {
      const { id, at } = this.#unknown;
      return unknownSigner(this.#unknown, `the checkpoint of ${timeOf(at)} on row ${id}`);
    }
    if (this.#signed === undefined) {
      return fault(
        'unsigned',
        this.#previous.id,
        'the log has no signed checkpoint: anybody could have made its hashes',
      );
    }
    return {
      rows: this.#rows,
      checkpoints: this.#checkpoints,
      head: this.#previous,
      anchor: this.#anchor,
      signed: this.#signed,
      reports: this.#reports,
    };
  }

  /** An anchor stands for rows that nobody can see any more: only its signature speaks for them. */
  #begin(anchor: SignedCheckpoint, isGood: boolean, name: string): ChainFault | undefined {
    if (this.#rows > 0 || this.#anchor !== undefined)
      return fault('order', anchor.id, `${name} is not the first record`);
    if (!isGood) return unknownSigner(anchor, name);
    this.#anchor = { id: anchor.id, hash: anchor.hash, count: anchor.count };
    this.#previous = this.#anchor;
    return undefined;
  }

  #compare(checkpoint: SignedCheckpoint, name: string): ChainFault | undefined {
    const { id, hash: head, count } = this.#previous;
    if (checkpoint.id > id) {
      return fault('cut', id + 1, `${range(id + 1, checkpoint.id)} missing: ${name} still speaks of them`);
    }
    if (checkpoint.id < id)
      return fault('missing', checkpoint.id, `row ${checkpoint.id} is missing: ${name} speaks of it`);
    if (checkpoint.hash === head && checkpoint.count === count) return undefined;
    const what =
      checkpoint.hash === head ? `there were ${checkpoint.count} rows, not ${count}` : 'another row stood there';
    return fault('rewritten', id, `the log was rewritten up to row ${id}: by ${name} ${what}`);
  }
}

/** Where the chain stands after `row`, or why `row` does not follow. */
export function nextPosition({ id, hash: previous, count }: ChainPosition, row: ChainRow): ChainPosition | ChainFault {
  if (!(row.id > id)) {
    return fault('order', row.id, `row ${row.id} comes after row ${id}: rows were put in or their order was changed`);
  }
  if (chainHash(previous, row) !== row.hash) return row.id > id + 1 ? missing(id, row.id) : changed(row.id);
  return { id: row.id, hash: row.hash, count: count + 1 };
}

/** Whether what a check came to is a fault. */
export function isFault(found: ChainFault | ChainSummary | ChainPosition): found is ChainFault {
  return 'message' in found;
}

function changed(id: number): ChainFault {
  const before = id > 1 ? `, or row ${id - 1} was and its hash made to fit` : '';
  return fault('changed', id, `row ${id} does not fit the chain: it was changed${before}`);
}

function missing(before: number, id: number): ChainFault {
  return fault('missing', id, `${range(before + 1, id - 1)} missing before row ${id}`);
}

function unknownSigner({ id, signer }: SignedCheckpoint, name: string): ChainFault {
  const advice = 'its certificate has to be among the CAs that are given';
  return fault('unknown-signer', id, `${name} is signed by ${signer}, which is no trusted CA: ${advice}`);
}

function range(from: number, to: number): string {
  return from === to ? `row ${from} is` : `rows ${from} to ${to} are`;
}

function fault(kind: ChainFault['kind'], id: number, message: string): ChainFault {
  return { kind, id, message };
}

function timeOf(at: number): string {
  return Number.isFinite(at) && Math.abs(at) <= 8.64e15 ? new Date(at).toISOString() : String(at);
}
