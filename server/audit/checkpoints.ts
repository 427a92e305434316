/**
 * Signs the head of the audit log with the CA's key: whoever can write to the store cannot make a log of his own, since
 * he cannot sign it. What was signed last is kept in memory and in a file beside the store, so that rows which were
 * changed below it are found before anything is signed again.
 */
import type { BaseLogger } from 'pino';
import {
  BROKEN_ACTION,
  CHECKPOINT_PURPOSE,
  type ChainFault,
  type ChainPosition,
  type Checkpoint,
  checkpointText,
  GENESIS,
  isFault,
  type SignatureCheck,
  type SignedCheckpoint,
} from '../../shared/audit-chain.ts';
import type { Clock, Timer } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import type { Store } from '../store/store.ts';
import type { Audit } from './audit.ts';
import { endOf, follow } from './follow.ts';
import { type HeadRecord, readHead, writeHead } from './head-file.ts';

/** The longest that a row stands without a signature over it, and the most rows that do. */
const CHECKPOINT_MS = 60_000;
const CHECKPOINT_ROWS = 1_000;
/** Checkpoints that are kept; the newest one speaks for all rows. */
const MAX_CHECKPOINTS = 2_000;

/** Who signs: the CA of now. */
export interface Signer {
  /** The pin of its key. */
  readonly keyPin: string;
  attest(purpose: string, text: string): Promise<Buffer>;
}

export interface CheckpointsDeps {
  readonly store: Store;
  readonly audit: Pick<Audit, 'recordOrLog' | 'onRows' | 'drain'>;
  readonly clock: Clock;
  readonly log: Pick<BaseLogger, 'error' | 'warn'>;
  readonly signer: () => Signer;
  /** Whether a signature is one of this installation's CAs. */
  readonly check: SignatureCheck;
  /** Holds what was signed last. */
  readonly headFile: string;
}

export class Checkpoints {
  readonly #deps: CheckpointsDeps;
  /** What was signed last, and what the next signature goes on from. */
  #last: SignedCheckpoint | undefined;
  #pending = 0;
  #timer: Timer | undefined;
  #running: Promise<unknown> = Promise.resolve();
  #isIntact = true;
  #isClosed = false;
  readonly #stopListening: () => void;

  /** Looks whether the log is still the one that was signed before the start, and reports it if not; then signs it. */
  static async open(deps: CheckpointsDeps): Promise<Checkpoints> {
    const checkpoints = new Checkpoints(deps);
    await checkpoints.#compareWithLast();
    try {
      await checkpoints.#saySigned();
      await checkpoints.make();
    } catch (error) {
      deps.log.error({ err: error }, 'the audit log could not be signed at the start; it is tried again');
      checkpoints.#count(0);
    }
    return checkpoints;
  }

  private constructor(deps: CheckpointsDeps) {
    this.#deps = deps;
    this.#stopListening = deps.audit.onRows((rows) => this.#count(rows));
  }

  /** Whether no change of what was signed was found since the start. */
  get isIntact(): boolean {
    return this.#isIntact;
  }

  get last(): SignedCheckpoint | undefined {
    return this.#last;
  }

  /**
   * Signs the log as it is now, if it has rows that are not signed yet, or not by the key of now.
   * @returns the signature that stands
   */
  async make(): Promise<SignedCheckpoint | undefined> {
    const work = this.#running.then(() => this.#make());
    this.#running = work.catch(() => undefined);
    return await work;
  }

  /**
   * Signs that the rows up to `position` were dropped. To be called in the transaction that removes them: whatever signs
   * anew after a change of the key comes before it or after it.
   */
  async anchor(position: ChainPosition): Promise<SignedCheckpoint> {
    return await this.#sign('anchor', position);
  }

  /** Says, for good and where everybody looks, that the log is not what it was. */
  async report({ id, message }: Pick<ChainFault, 'id' | 'message'>): Promise<void> {
    this.#isIntact = false;
    this.#deps.log.error({ row: id, why: message }, 'the audit log is not the one that was signed');
    const entry = {
      actor: 'system',
      action: BROKEN_ACTION,
      result: 'failed' as const,
      detail: { row: id, why: message },
    };
    await this.#deps.audit.recordOrLog(entry);
  }

  /** Signs what is there and says that the server stopped: rows that come later are none of its own. Idempotent. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#stopListening();
    this.#timer?.cancel();
    await this.#deps.audit.drain();
    try {
      const last = await this.make();
      if (last !== undefined) await writeHead(this.#deps.headFile, { checkpoint: last, isStopped: true });
    } catch (error) {
      this.#deps.log.error({ err: error }, 'the end of the audit log could not be signed');
    }
  }

  #count(rows: number): void {
    this.#pending += rows;
    if (this.#pending >= CHECKPOINT_ROWS) {
      this.#pending = 0;
      this.#makeLater();
    } else this.#timer ??= this.#deps.clock.setTimeout(() => this.#makeLater(), CHECKPOINT_MS);
  }

  #makeLater(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.make().catch((error: unknown) => {
      this.#deps.log.error({ err: error }, 'the audit log could not be signed; it is tried again');
      if (!this.#isClosed) this.#timer ??= this.#deps.clock.setTimeout(() => this.#makeLater(), CHECKPOINT_MS);
    });
  }

  async #make(): Promise<SignedCheckpoint | undefined> {
    const { store } = this.#deps;
    this.#pending = 0;
    await this.#signAnchorAnew();
    const before = this.#last;
    const position = await this.#position(before);
    if (position.id === 0) return undefined;
    if (before?.id === position.id && before.hash === position.hash && before.signer === this.#deps.signer().keyPin) {
      return before;
    }
    const signed = await this.#sign('head', position);
    await store.auditCheckpoints.insert(signed);
    await store.auditCheckpoints.thin(MAX_CHECKPOINTS);
    this.#last = signed;
    await this.#saySigned();
    return signed;
  }

  /** An anchor by an older key says the same by the key of now. One that nobody vouches for stays as it is: retention reports it. */
  async #signAnchorAnew(): Promise<void> {
    const { store, signer, check } = this.#deps;
    const isOwn = (anchor: SignedCheckpoint | undefined) => anchor === undefined || anchor.signer === signer().keyPin;
    if (isOwn(await store.auditCheckpoints.last('anchor'))) return;
    await store.transaction(async ({ auditCheckpoints }) => {
      const anchor = await auditCheckpoints.last('anchor');
      if (anchor === undefined || isOwn(anchor) || (await check(anchor)) !== 'good') return;
      await auditCheckpoints.insert(await this.#sign('anchor', anchor));
      await auditCheckpoints.dropThrough(anchor.id);
    });
  }

  /** The head, if all up to it follows from what was signed; otherwise the head as it is, once that is reported. */
  async #position(from: ChainPosition | undefined): Promise<ChainPosition> {
    const { audit, auditCheckpoints } = this.#deps.store;
    const anchor = await auditCheckpoints.last('anchor');
    const found = await follow(audit, from ?? anchor ?? GENESIS, from === undefined);
    if (!isFault(found)) return found;
    await this.report(found);
    return await endOf(audit, anchor ?? GENESIS);
  }

  async #sign(kind: Checkpoint['kind'], { id, hash, count }: ChainPosition): Promise<SignedCheckpoint> {
    const { clock, signer } = this.#deps;
    const key = signer();
    const statement = { kind, id, hash, count, at: clock.now(), signer: key.keyPin };
    const signature = await key.attest(CHECKPOINT_PURPOSE, checkpointText(statement));
    return { ...statement, signature: signature.toString('base64') };
  }

  async #compareWithLast(): Promise<void> {
    const { store } = this.#deps;
    const stored = await this.#genuine(await store.auditCheckpoints.last('head'), 'the last checkpoint in the store');
    const file = await this.#headFile();
    // A server that was killed has stored one more than its file says.
    this.#last = stored !== undefined && stored.id > (file?.checkpoint.id ?? 0) ? stored : file?.checkpoint;
    const head = await store.audit.head();
    if (file?.isStopped && head !== undefined && head.id > file.checkpoint.id) {
      const message = `rows ${file.checkpoint.id + 1} to ${head.id} were written while the server was stopped`;
      await this.report({ id: file.checkpoint.id + 1, message });
    }
  }

  /** From now on rows are added, and the file must not say any more that the server has stopped. */
  async #saySigned(): Promise<void> {
    if (this.#last === undefined) return;
    await writeHead(this.#deps.headFile, { checkpoint: this.#last, isStopped: false });
  }

  async #headFile(): Promise<HeadRecord | undefined> {
    const { headFile, log } = this.#deps;
    try {
      const found = await readHead(headFile);
      if (found === undefined || (await this.#genuine(found.checkpoint, headFile)) === undefined) return undefined;
      return found;
    } catch (error) {
      if (!(error instanceof FairleadError)) throw error;
      log.warn({ err: error }, 'what was signed last of the audit log cannot be read; only the store tells');
      return undefined;
    }
  }

  async #genuine(checkpoint: SignedCheckpoint | undefined, where: string): Promise<SignedCheckpoint | undefined> {
    if (checkpoint === undefined) return undefined;
    const signature = await this.#deps.check(checkpoint);
    if (signature === 'good') return checkpoint;
    if (signature === 'forged') await this.report({ id: checkpoint.id, message: `${where} is forged` });
    else this.#deps.log.warn({ signer: checkpoint.signer }, `${where} is signed by another CA and tells nothing`);
    return undefined;
  }
}
