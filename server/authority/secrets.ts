/**
 * Small secrets at rest, as those that sign webhooks: AES-256-GCM under one key of the installation, which rests beside the
 * CA's keys and is sealed as they are. Layout: version 1 | nonce 12 | ciphertext | tag 16.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { FairleadError } from '../../shared/errors.ts';

export const SECRETS_KEY_BYTES = 32;
const VERSION = 1;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

export class Secrets {
  readonly #key: () => Promise<Buffer>;

  /** @param key asked each time; whoever has it keeps it */
  constructor(key: () => Promise<Buffer>) {
    this.#key = key;
  }

  /** @param context what the secret is of: it opens in no other. @returns base64 */
  async seal(text: string, context: string): Promise<string> {
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv('aes-256-gcm', await this.#key(), nonce, { authTagLength: TAG_BYTES });
    cipher.setAAD(Buffer.from(context));
    const sealed = [cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()];
    return Buffer.concat([Buffer.of(VERSION), nonce, ...sealed]).toString('base64');
  }

  /** @throws FairleadError VALIDATION if it was sealed elsewhere, as something else, or was changed */
  async open(sealed: string, context: string): Promise<string> {
    const bytes = Buffer.from(sealed, 'base64');
    if (bytes[0] !== VERSION || bytes.length < 1 + NONCE_BYTES + TAG_BYTES) throw damaged(context);
    const nonce = bytes.subarray(1, 1 + NONCE_BYTES);
    const decipher = createDecipheriv('aes-256-gcm', await this.#key(), nonce, { authTagLength: TAG_BYTES });
    decipher.setAAD(Buffer.from(context));
    decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
    try {
      const opened = decipher.update(bytes.subarray(1 + NONCE_BYTES, -TAG_BYTES));
      return Buffer.concat([opened, decipher.final()]).toString('utf8');
    } catch (cause) {
      throw damaged(context, cause);
    }
  }
}

function damaged(context: string, cause?: unknown): FairleadError {
  return new FairleadError('VALIDATION', `the secret of ${context} in the store cannot be opened`, { cause });
}
