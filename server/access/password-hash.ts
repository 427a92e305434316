/** Passwords as argon2id hashes (RFC 9106): slow and large on purpose, so only a few are made at a time. */
import { argon2, randomBytes, timingSafeEqual } from 'node:crypto';
import { FairleadError } from '../../shared/errors.ts';

/** RFC 9106 section 4, the second recommended option, with one lane since the pool has few threads. */
const PARAMETERS: Argon2idParameters = { memoryKib: 64 * 1024, passes: 3, lanes: 1 };
/** What a stored hash may ask for at most: a damaged one must not take the memory of the machine. */
const MAX: Argon2idParameters = { memoryKib: 256 * 1024, passes: 10, lanes: 4 };
const SALT_BYTES = 16;
const HASH_BYTES = 32;
/**
 * For people who sign in: hashes that are made at once, each in 64 MiB and a thread of the pool, of which the other half stays
 * free; and those that may wait for their turn, at some 0.2 s each.
 */
const LIMITS: HasherLimits = { atOnce: 2, waiting: 32 };
const RETRY_SECONDS = 5;

const STORED = /^\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,2}),p=(\d)\$([A-Za-z0-9+/]{22,86})\$([A-Za-z0-9+/]{22,86})$/;

export interface Argon2idParameters {
  readonly memoryKib: number;
  readonly passes: number;
  readonly lanes: number;
}

export interface HasherLimits {
  readonly atOnce: number;
  readonly waiting: number;
}

/** Derives `bytes` of key material from a password. */
export type Derive = (password: Buffer, salt: Buffer, parameters: Argon2idParameters, bytes: number) => Promise<Buffer>;

export class PasswordHasher {
  readonly #derive: Derive;
  readonly #limits: HasherLimits;
  readonly #waiting: (() => void)[] = [];
  /** What no password fits, at the price of one that could. */
  readonly #nobody = format(PARAMETERS, randomBytes(SALT_BYTES), randomBytes(HASH_BYTES));
  #running = 0;

  /** @param derive for tests; argon2id otherwise */
  constructor(derive: Derive = argon2id, limits: HasherLimits = LIMITS) {
    this.#derive = derive;
    this.#limits = limits;
  }

  /** @returns the hash with its parameters and salt in one text. @throws FairleadError OVERLOADED */
  async hash(password: string): Promise<string> {
    const salt = randomBytes(SALT_BYTES);
    const hash = await this.#inTurn(() => this.#derive(bytesOf(password), salt, PARAMETERS, HASH_BYTES));
    return format(PARAMETERS, salt, hash);
  }

  /**
   * Whether `password` fits `stored`; without one it takes the same work and is false.
   * @throws FairleadError OVERLOADED, INTERNAL if what is stored is damaged
   */
  async fits(password: string, stored: string | undefined): Promise<boolean> {
    const { parameters, salt, hash } = parse(stored ?? this.#nobody);
    const made = await this.#inTurn(() => this.#derive(bytesOf(password), salt, parameters, hash.length));
    return timingSafeEqual(made, hash) && stored !== undefined;
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running < this.#limits.atOnce) this.#running++;
    else {
      if (this.#waiting.length >= this.#limits.waiting) {
        throw new FairleadError('OVERLOADED', 'too many passwords are being checked', {
          retryAfterSeconds: RETRY_SECONDS,
        });
      }
      // Whoever is done hands its turn on, so that nobody slips in between.
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running--;
      else next();
    }
  }
}

const argon2id: Derive = (password, salt, { memoryKib, passes, lanes }, bytes) =>
  new Promise((resolve, reject) => {
    const options = { message: password, nonce: salt, memory: memoryKib, passes, parallelism: lanes, tagLength: bytes };
    argon2('argon2id', options, (error, hash) => (error ? reject(error) : resolve(hash)));
  });

/** One text, one sequence of bytes, however a keyboard composes its letters. */
function bytesOf(password: string): Buffer {
  return Buffer.from(password.normalize('NFKC'), 'utf8');
}

function format({ memoryKib, passes, lanes }: Argon2idParameters, salt: Buffer, hash: Buffer): string {
  const text = (bytes: Buffer) => bytes.toString('base64').replace(/=+$/, '');
  return `$argon2id$v=19$m=${memoryKib},t=${passes},p=${lanes}$${text(salt)}$${text(hash)}`;
}

function parse(stored: string): { parameters: Argon2idParameters; salt: Buffer; hash: Buffer } {
  const [, memory, passes, lanes, salt = '', hash = ''] = STORED.exec(stored) ?? [];
  const parameters = { memoryKib: Number(memory), passes: Number(passes), lanes: Number(lanes) };
  const keys = ['memoryKib', 'passes', 'lanes'] as const;
  if (!keys.every((key) => parameters[key] >= 1 && parameters[key] <= MAX[key])) {
    throw new FairleadError('INTERNAL', 'the stored password is damaged: set it anew with `fairlead user passwd`');
  }
  return { parameters, salt: Buffer.from(salt, 'base64'), hash: Buffer.from(hash, 'base64') };
}
