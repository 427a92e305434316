/**
 * Secrets of tokens: 256 random bits, of which the store keeps the SHA-256. A slow hash would protect what people
 * choose; there is nothing to guess here.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { TOKEN_SECRET_BYTES } from '../../certs/enrollment-token.ts';

const ID_BYTES = 10;
/** Stands in for the hash of a token that does not exist: comparing with it takes as long, and nothing hashes to it. */
const NO_HASH = randomBytes(32);

export interface NewSecret {
  /** Random, and safe on a command line. */
  readonly id: string;
  readonly secret: Buffer;
  readonly hash: Buffer;
}

export function newSecret(): NewSecret {
  const secret = randomBytes(TOKEN_SECRET_BYTES);
  return { id: randomBytes(ID_BYTES).toString('hex'), secret, hash: hashSecret(secret) };
}

/** Whether `secret` hashes to `hash`, in a time that does not depend on either, nor on whether there is a hash. */
export function fitsHash(secret: Uint8Array, hash: Uint8Array | undefined): boolean {
  const expected = hash?.length === NO_HASH.length ? hash : NO_HASH;
  return timingSafeEqual(hashSecret(secret), expected) && expected === hash;
}

function hashSecret(secret: Uint8Array): Buffer {
  return createHash('sha256').update(secret).digest();
}
