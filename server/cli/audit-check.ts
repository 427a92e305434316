/** Checks an export of the audit log on this side: what the server says of its own log counts for nothing here. */
import { type Attesters, checkAttestation } from '../../certs/attestation.ts';
import {
  CHECKPOINT_PURPOSE,
  type ChainFault,
  type ChainPosition,
  type ChainSummary,
  ChainVerifier,
  checkpointText,
  isFault,
  type SignedCheckpoint,
} from '../../shared/audit-chain.ts';
import { ExportRecord, rowOf } from '../../shared/audit-export.ts';
import { fits } from '../../shared/validate.ts';
import { CliError } from './errors.ts';
import { records } from './ndjson.ts';

export interface CheckOptions {
  /** The CAs whose signatures count. */
  readonly keys: Attesters;
  /** The hash of a row that was the last one once. */
  readonly expectHead: string | undefined;
}

/** @throws CliError that names the first line and row where something is wrong, and FairleadError if the export breaks off */
export async function checkExport(source: AsyncIterable<Uint8Array>, options: CheckOptions): Promise<ChainSummary> {
  const check = new ExportCheck(options);
  try {
    for await (const value of records(source)) await check.add(value);
  } catch (error) {
    if (error instanceof SyntaxError) throw check.broken('it is no JSON');
    throw error;
  }
  return check.end();
}

class ExportCheck {
  readonly #verifier: ChainVerifier;
  readonly #expectHead: string | undefined;
  #line = 0;
  #rows = 0;
  #end: { rows: number; head: ChainPosition } | undefined;
  #isExpectedSeen = false;

  constructor({ keys, expectHead }: CheckOptions) {
    this.#expectHead = expectHead;
    this.#verifier = new ChainVerifier(async (checkpoint) => await signatureOf(keys, checkpoint));
  }

  async add(value: unknown): Promise<void> {
    if (!fits(ExportRecord, value)) throw this.broken(whatIsWrong(value));
    this.#line += 1;
    if ((value.type === 'header') !== (this.#line === 1))
      throw this.#damaged('an export has one header, at its beginning');
    if (this.#end !== undefined) throw this.#damaged('something stands after the end of the export');
    if (value.type === 'end') this.#end = value;
    if (value.type === 'row') {
      this.#rows += 1;
      this.#see(value.hash);
      this.#refuse(this.#verifier.row(rowOf(value)));
    }
    if (value.type === 'checkpoint') {
      const { type: _, ...checkpoint } = value;
      if (checkpoint.kind === 'anchor') this.#see(checkpoint.hash);
      this.#refuse(await this.#verifier.checkpoint(checkpoint));
    }
  }

  end(): ChainSummary {
    const end = this.#end;
    if (end === undefined) throw new CliError('the export has no end: it was cut off on its way');
    const found = this.#verifier.end();
    if (isFault(found)) throw new CliError(found.message);
    const { id, hash, count } = found.head;
    const isSame = end.head.id === id && end.head.hash === hash && end.head.count === count;
    if (end.rows !== this.#rows || !isSame) {
      throw new CliError(
        `the export is damaged: its end speaks of row ${end.head.id}, its last row is ${found.head.id}`,
      );
    }
    if (this.#expectHead !== undefined && !this.#isExpectedSeen) throw new CliError(rewound(this.#expectHead, found));
    return found;
  }

  /** For the line after those that were read. */
  broken(why: string): CliError {
    this.#line += 1;
    return this.#damaged(why);
  }

  #see(hash: string): void {
    if (hash === this.#expectHead) this.#isExpectedSeen = true;
  }

  #refuse(fault: ChainFault | undefined): void {
    if (fault !== undefined)
      throw new CliError(`the audit log was tampered with: ${fault.message} (line ${this.#line})`);
  }

  #damaged(why: string): CliError {
    return new CliError(`line ${this.#line} of the export is damaged: ${why}`);
  }
}

/** Rows whose columns somebody has filled with what the server never writes there. */
function whatIsWrong(value: unknown): string {
  const { type, id } = (value ?? {}) as { type?: unknown; id?: unknown };
  const isRow = type === 'row' && typeof id === 'number';
  return isRow ? `row ${id} holds what no row of an audit log does: it was changed` : 'it is no record of an export';
}

function rewound(hash: string, { head, anchor }: ChainSummary): string {
  const dropped =
    anchor === undefined ? '' : `, unless it was one of the rows up to ${anchor.id}, which were dropped by age`;
  return `the audit log was rewound or replaced: no row has the hash ${hash}${dropped}; its last row is ${head.id}`;
}

async function signatureOf(keys: Attesters, checkpoint: SignedCheckpoint): Promise<'good' | 'forged' | 'unknown'> {
  const { signer, signature } = checkpoint;
  return await checkAttestation(keys, {
    purpose: CHECKPOINT_PURPOSE,
    text: checkpointText(checkpoint),
    signer,
    signature,
  });
}
