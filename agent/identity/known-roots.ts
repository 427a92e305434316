/**
 * The roots by which this host knows its server, as they change. What it trusts grows by endorsements alone; what it no
 * longer needs goes only on the word of a server that it has verified.
 */
import type { Logger } from 'pino';
import { MAX_BUNDLE_BYTES, pemOf, type Root, rootsIn, trustFrom } from '../../certs/trust.ts';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import type { TrustAck, TrustUpdate } from '../../shared/messages/trust.ts';
import { type Identity, storeTrust } from './state-dir.ts';

export interface KnownRootsDeps {
  readonly stateDir: string;
  readonly clock: Clock;
  readonly log: Pick<Logger, 'info' | 'warn'>;
  /** Fetches `/ca.pem`, trusting nobody. */
  readonly fetchBundle: (server: string, maxBytes: number) => Promise<string>;
}

/** Whose roots these are: the identity in memory, which has to follow them. */
export interface RootHolder {
  current(): Identity;
  /** Puts other roots, and the record that names the first of them, into the identity; both are on the disk. */
  trust(change: Pick<Identity, 'caPem' | 'record'>): void;
}

export class KnownRoots {
  readonly #deps: KnownRootsDeps;
  readonly #holder: RootHolder;
  /** What is being stored: one change after the other. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(holder: RootHolder, deps: KnownRootsDeps) {
    this.#holder = holder;
    this.#deps = deps;
  }

  get #identity(): Identity {
    return this.#holder.current();
  }

  /**
   * Follows what a server says whose certificate was verified.
   * @returns the answer, once it is on the disk
   * @throws FairleadError VALIDATION if nothing of it can be trusted, or the state directory cannot be written
   */
  async follow({ version, roots, endorsements }: TrustUpdate): Promise<TrustAck> {
    return await this.#inTurn(async () => {
      const trusted = this.#trusted([...roots, ...endorsements].join('\n'));
      if (trusted.length === 0)
        throw new FairleadError('VALIDATION', 'none of the roots that the server names is endorsed');
      await this.#store(trusted);
      return { version, roots: trusted.map(({ pin }) => pin) };
    });
  }

  /**
   * Looks whether a server that cannot be verified has another root by now, and adds what is endorsed.
   * @returns whether there was something to add
   * @throws FairleadError if the server cannot be asked, or the state directory cannot be written
   */
  async catchUp(): Promise<boolean> {
    return await this.#inTurn(async () => {
      const bundle = await this.#deps.fetchBundle(this.#identity.record.server, MAX_BUNDLE_BYTES);
      const own = rootsIn(this.#identity.caPem);
      const pins = new Set(own.map(({ pin }) => pin));
      const added = this.#trusted(bundle).filter(({ pin }) => !pins.has(pin));
      if (added.length === 0) return false;
      await this.#store([...own, ...added]);
      return true;
    });
  }

  #trusted(bundle: string): Root[] {
    const pins = rootsIn(this.#identity.caPem).map(({ pin }) => pin);
    return trustFrom(bundle, pins, this.#deps.clock.now());
  }

  async #store(roots: readonly Root[]): Promise<void> {
    const caPem = pemOf(roots);
    const [first] = roots;
    const { stateDir, log } = this.#deps;
    const { caPem: before, record: known } = this.#identity;
    // What a network says that was not verified adds roots behind the others, so that the first one stays.
    if (first === undefined || (caPem === before && first.pin === known.caFingerprint)) return;
    const record = await storeTrust(stateDir, { caPem, caFingerprint: first.pin }, before);
    this.#holder.trust({ caPem, record });
    log.info({ roots: roots.map(({ pin }) => pin) }, 'the roots that this host trusts have changed');
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work);
    this.#last = turn.catch(() => undefined);
    return turn;
  }
}
