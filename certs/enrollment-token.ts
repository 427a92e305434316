/**
 * Tokens as people carry them: one string of a prefix that names kind and version, and base64url of
 * pin 32 | secret 32 | id | checksum 4. The pin lets whoever holds the token know the CA before trusting it.
 */
import { createHash } from 'node:crypto';
import { FairleadError } from '../shared/errors.ts';
import { pinBytes } from './pin.ts';

/** `fle1`: enrolls a host. `fla1`: opens the API. */
export type TokenPrefix = 'fle1' | 'fla1';

export interface TokenParts {
  /** The pin of the CA, as `spkiPin` makes it. */
  readonly pin: string;
  /** Names the token in the store: 1 to 64 of A-Z a-z 0-9 _ -. */
  readonly id: string;
  /** 32 random bytes; stored nowhere but as a hash. */
  readonly secret: Buffer;
}

export const TOKEN_SECRET_BYTES = 32;
const PIN_BYTES = 32;
const CHECKSUM_BYTES = 4;
const FIXED_BYTES = PIN_BYTES + TOKEN_SECRET_BYTES + 1;
const MAX_TOKEN_CHARS = 256;
const ID = /^[A-Za-z0-9_-]{1,64}$/;
const KINDS: Record<TokenPrefix, string> = { fle1: 'an enrollment token', fla1: 'an API token' };

function refused(why: string): FairleadError {
  return new FairleadError('TOKEN_INVALID', why);
}

function checksum(prefix: TokenPrefix, bytes: Buffer): Buffer {
  return createHash('sha256').update(prefix).update(bytes).digest().subarray(0, CHECKSUM_BYTES);
}

/** The string form of a token; an enrollment token unless a prefix says otherwise. */
export function formatToken(parts: TokenParts): string;
export function formatToken(prefix: TokenPrefix, parts: TokenParts): string;
export function formatToken(...args: [TokenParts] | [TokenPrefix, TokenParts]): string {
  const [prefix, parts] = args.length === 1 ? (['fle1', args[0]] as const) : args;
  if (!ID.test(parts.id)) throw new FairleadError('VALIDATION', 'a token id is 1 to 64 letters, digits, "_" and "-"');
  if (parts.secret.length !== TOKEN_SECRET_BYTES) {
    throw new FairleadError('VALIDATION', `a token's secret has ${TOKEN_SECRET_BYTES} bytes`);
  }
  const id = Buffer.from(parts.id, 'ascii');
  const body = Buffer.concat([pinBytes(parts.pin), parts.secret, Buffer.of(id.length), id]);
  return `${prefix}.${Buffer.concat([body, checksum(prefix, body)]).toString('base64url')}`;
}

/**
 * The parts of a token; an enrollment token unless a prefix says otherwise. White space around it is fine.
 * @throws FairleadError TOKEN_INVALID that says what happened to it and never repeats it
 */
export function parseToken(text: string): TokenParts;
export function parseToken(prefix: TokenPrefix, text: string): TokenParts;
export function parseToken(...args: [string] | [TokenPrefix, string]): TokenParts {
  const [prefix, text] = args.length === 1 ? (['fle1', args[0]] as const) : args;
  const encoded = withoutPrefix(prefix, text.trim());
  const bytes = Buffer.from(encoded, 'base64url');
  const idLength = bytes[FIXED_BYTES - 1];
  const length = FIXED_BYTES + (idLength ?? 0) + CHECKSUM_BYTES;
  if (idLength === undefined || bytes.length < length) throw refused('the token is truncated: copy all of it');
  const body = bytes.subarray(0, length - CHECKSUM_BYTES);
  const id = body.toString('ascii', FIXED_BYTES);
  // The decoder forgives bits that stand for nothing, so only the way back tells whether every character is right.
  const exact = bytes.length === length && bytes.toString('base64url') === encoded;
  if (!exact || !checksum(prefix, body).equals(bytes.subarray(body.length)) || !ID.test(id)) {
    throw refused('the token is mistyped: its checksum does not fit');
  }
  return {
    pin: `sha256:${body.toString('hex', 0, PIN_BYTES)}`,
    id,
    secret: Buffer.from(body.subarray(PIN_BYTES, FIXED_BYTES - 1)),
  };
}

function withoutPrefix(prefix: TokenPrefix, text: string): string {
  const [found = '', encoded = ''] = text.split('.', 2);
  if (found !== prefix) throw refused(`this is not ${KINDS[prefix]}, which begins with "${prefix}."${hint(found)}`);
  if (text.length > MAX_TOKEN_CHARS) throw refused('the token is too long: copy it alone');
  if (!/^[A-Za-z0-9_-]*$/.test(text.slice(prefix.length + 1))) {
    throw refused('the token is mistyped: it has characters that no token has');
  }
  return encoded;
}

function hint(found: string): string {
  return Object.hasOwn(KINDS, found) ? `; it is ${KINDS[found as TokenPrefix]}` : '';
}
