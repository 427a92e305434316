/**
 * Seals what the store keeps for others: under a key of its own, which is sealed in turn as the keys of the CA are. So a
 * passphrase costs its time once, and another one changes a single value.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { FairleadError } from '../../shared/errors.ts';
import type { Settings } from './ports.ts';
import type { Seal } from './seal.ts';

/** The setting with the sealed key. */
export const DATA_KEY_SETTING = 'authority.data-key';
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const VERSION = 1;

export class DataKey {
  readonly #settings: Settings;
  readonly #seal: Seal;
  #key: Promise<Buffer> | undefined;

  constructor(settings: Settings, seal: Seal) {
    this.#settings = settings;
    this.#seal = seal;
  }

  /** @param context says what the text is for: it opens as that and nothing else. @returns base64 */
  async seal(text: string, context: string): Promise<string> {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv('aes-256-gcm', await this.#open(), nonce, { authTagLength: TAG_BYTES });
    cipher.setAAD(Buffer.from(context));
    const head = Buffer.concat([Buffer.of(VERSION), nonce]);
    return Buffer.concat([head, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]).toString('base64');
  }

  /** @throws FairleadError INTERNAL if it was sealed as something else, or was changed */
  async unseal(sealed: string, context: string): Promise<string> {
    const bytes = Buffer.from(sealed, 'base64');
    const key = await this.#open();
    try {
      if (bytes[0] !== VERSION) throw new Error('it was written by another version');
      const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(1, 1 + NONCE_BYTES), {
        authTagLength: TAG_BYTES,
      });
      decipher.setAAD(Buffer.from(context));
      decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
      const opened = decipher.update(bytes.subarray(1 + NONCE_BYTES, -TAG_BYTES));
      return Buffer.concat([opened, decipher.final()]).toString('utf8');
    } catch (cause) {
      throw new FairleadError('INTERNAL', 'what the store has sealed cannot be opened: it was damaged', { cause });
    }
  }

  #open(): Promise<Buffer> {
    this.#key ??= this.#openOrMake().catch((error: unknown) => {
      this.#key = undefined;
      throw error;
    });
    return this.#key;
  }

  async #openOrMake(): Promise<Buffer> {
    const there = await this.#settings.get(DATA_KEY_SETTING);
    const fresh = async () => Buffer.from(await this.#seal.seal(randomBytes(KEY_BYTES).toString('base64')));
    const sealed = there ?? (await this.#settings.setOnce(DATA_KEY_SETTING, await fresh()));
    return Buffer.from(await this.#seal.unseal(sealed.toString()), 'base64');
  }
}
