/** What the server does with its audit log besides writing it: signs it, checks it, exports it, drops old rows, forwards it. */
import { join } from 'node:path';
import type { Logger } from 'pino';
import { type Attesters, attestersIn, checkAttestation } from '../../certs/attestation.ts';
import {
  CHECKPOINT_PURPOSE,
  type ChainFault,
  type ChainSummary,
  checkpointText,
  type SignatureCheck,
} from '../../shared/audit-chain.ts';
import type { Clock } from '../../shared/clock.ts';
import type { Store } from '../store/store.ts';
import type { Audit } from './audit.ts';
import { Checkpoints, type Signer } from './checkpoints.ts';
import { FileSink } from './file-sink.ts';
import { Forwarder, type Sink } from './forwarder.ts';
import { Retention } from './retention.ts';
import { exportLog, verifyLog } from './verify-log.ts';
import { WebhookSink } from './webhook-sink.ts';

const HEAD_FILE = 'audit-head.json';

/** How long rows are kept and who gets them. */
export interface AuditPolicy {
  /** In ms; undefined: for ever. */
  readonly keepMs: number | undefined;
  /** Absolute. */
  readonly file: string | undefined;
  readonly webhook:
    | { readonly url: URL; readonly secret: string | undefined; readonly ca: string | undefined }
    | undefined;
}

/** The CA as the log needs it; asked each time, since it may be another one tomorrow. */
export interface AuditAuthority {
  /** `pem`: the certificates of the CAs whose signatures count. */
  trust(): { readonly pem: string };
  readonly ca: Signer;
}

export interface AuditTrailDeps {
  readonly store: Store;
  readonly audit: Audit;
  readonly authority: AuditAuthority;
  readonly policy: AuditPolicy;
  readonly clock: Clock;
  readonly log: Logger;
  readonly random: () => number;
}

export class AuditTrail {
  readonly #deps: AuditTrailDeps;
  readonly #check: SignatureCheck;
  readonly #checkpoints: Checkpoints;
  readonly #retention: Retention | undefined;
  readonly forwarders: readonly Forwarder[];

  /** @throws FairleadError VALIDATION if the file that is to get the log cannot be written; STORE_FULL, STORE_UNAVAILABLE */
  static async open(deps: AuditTrailDeps): Promise<AuditTrail> {
    const { store, audit, authority, policy, clock, log, random } = deps;
    const sinks = await openSinks(policy, clock);
    const check = signatureCheck(authority);
    const headFile = join(store.dataDir, HEAD_FILE);
    const signer = () => authority.ca;
    const checkpoints = await Checkpoints.open({ store, audit, clock, log, signer, check, headFile });
    const forwarders = await Promise.all(
      sinks.map((sink) => Forwarder.start({ sink, store, audit, clock, random, log })),
    );
    return new AuditTrail(deps, check, checkpoints, forwarders);
  }

  private constructor(deps: AuditTrailDeps, check: SignatureCheck, checkpoints: Checkpoints, forwarders: Forwarder[]) {
    this.#deps = deps;
    this.#check = check;
    this.#checkpoints = checkpoints;
    this.forwarders = forwarders;
    const { store, audit, clock, log, policy } = deps;
    const { keepMs } = policy;
    if (keepMs !== undefined) {
      this.#retention = new Retention({ store, audit, checkpoints, check, receivers: forwarders, clock, log, keepMs });
    }
  }

  /** Whether no change of what was signed was found since the start. */
  get isIntact(): boolean {
    return this.#checkpoints.isIntact;
  }

  /** When the log was signed last, ms since 1970. */
  get signedAt(): number | undefined {
    return this.#checkpoints.last?.at;
  }

  get queuedRows(): number {
    return this.#deps.audit.queuedRows;
  }

  /** Drops what is too old, now; it also happens by itself. */
  async dropOld(): Promise<void> {
    await this.#retention?.pass();
  }

  /**
   * Signs what stands with the key of now: the head, and what is said of dropped rows. Nothing of an older key is needed
   * from then on.
   * @throws FairleadError STORE_FULL, STORE_UNAVAILABLE
   */
  async sign(): Promise<void> {
    await this.#checkpoints.make();
  }

  /** Checks all of the log. @throws FairleadError CONFLICT if old rows were dropped meanwhile */
  async verify(): Promise<ChainFault | ChainSummary> {
    await this.#checkpoints.make();
    return await verifyLog(this.#deps.store, this.#check);
  }

  /** All of the log as NDJSON, signed up to its last row. The generator fails with CONFLICT if old rows were dropped meanwhile. */
  async *export(): AsyncGenerator<string> {
    await this.#checkpoints.make();
    yield* exportLog(this.#deps.store);
  }

  /** Idempotent. */
  async close(): Promise<void> {
    await this.#retention?.close();
    await Promise.all(this.forwarders.map((forwarder) => forwarder.close()));
    await this.#checkpoints.close();
  }
}

async function openSinks({ file, webhook }: AuditPolicy, clock: Clock): Promise<Sink[]> {
  const sinks: Sink[] = [];
  if (file !== undefined) {
    const sink = new FileSink(file);
    await sink.check();
    sinks.push(sink);
  }
  if (webhook !== undefined) sinks.push(new WebhookSink({ ...webhook, clock }));
  return sinks;
}

function signatureCheck(authority: Pick<AuditAuthority, 'trust'>): SignatureCheck {
  let pem = '';
  let keys: Attesters = new Map();
  return async (checkpoint) => {
    const trusted = authority.trust().pem;
    if (pem !== trusted) {
      pem = trusted;
      keys = attestersIn(pem);
    }
    const { signer, signature } = checkpoint;
    return await checkAttestation(keys, {
      purpose: CHECKPOINT_PURPOSE,
      text: checkpointText(checkpoint),
      signer,
      signature,
    });
  };
}
