/**
 * Loaded before a server of a test: its first RSA keys of 4096 bits are some that were made beforehand, since to make one takes
 * a second of a processor, more than all else that most tests do. Each server of a test file gets others. They protect nothing.
 */
import crypto, { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { promisify } from 'node:util';

/** Of which the first key of this server is, by its number. */
export const FIRST_KEY = 'FAIRLEAD_TEST_FIRST_KEY';
/** A CA, and one that follows it. */
export const KEYS_OF_EACH = 2;
const BITS = 4096;
const FILE = new URL('../data/rsa-keys.pem', import.meta.url);

interface KeyPair {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

const make = promisify(crypto.generateKeyPair) as (type: string, options: object) => Promise<KeyPair>;

/** The keys that are left for this process. */
function readKeys(): string[] {
  const first = Number(process.env[FIRST_KEY]);
  const all = readFileSync(FILE, 'utf8').match(/-----BEGIN[\s\S]*?-----END PRIVATE KEY-----\n/g) ?? [];
  return all.slice(first, first + KEYS_OF_EACH);
}

async function ready(type: string, options: { readonly modulusLength?: number }): Promise<KeyPair> {
  const pem = type === 'rsa' && options.modulusLength === BITS ? keys?.shift() : undefined;
  if (pem === undefined) return await make(type, options);
  const privateKey = createPrivateKey(pem);
  return { privateKey, publicKey: createPublicKey(privateKey) };
}

let keys: string[] | undefined;
if (process.env[FIRST_KEY] !== undefined) {
  keys = readKeys();
  Object.assign(crypto.generateKeyPair, { [promisify.custom]: ready });
  syncBuiltinESMExports();
}
