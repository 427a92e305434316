/** Keys, signatures and verification in node:crypto's thread pool: none of it blocks the event loop. */

import type { KeyObject } from 'node:crypto';
import * as crypto from 'node:crypto';
import { promisify } from 'node:util';

const generate = promisify(crypto.generateKeyPair);

export type Digest = 'sha256' | 'sha384' | 'sha512';

export interface KeyPair {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

/** A new RSA key with e = 65537; seconds of another thread's time for 4096 bits. */
export function generateRsa(bits: number): Promise<KeyPair> {
  return generate('rsa', { modulusLength: bits });
}

/** A new key on P-256. */
export function generateP256(): Promise<KeyPair> {
  return generate('ec', { namedCurve: 'P-256' });
}

/** RSASSA-PKCS1-v1_5 or ECDSA over `bytes`, as certificates and requests carry them. */
export function sign(digest: Digest, bytes: Buffer, key: KeyObject): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    crypto.sign(digest, bytes, key, (error, signature) => (error ? reject(error) : resolve(signature)));
  });
}

/** Whether `signature` is that of `key` over `bytes`. One that cannot even be read is none. */
export function verify(digest: Digest, bytes: Buffer, key: KeyObject, signature: Buffer): Promise<boolean> {
  return new Promise((resolve) => {
    crypto.verify(digest, bytes, key, signature, (error, good) => resolve(error === null && good));
  });
}

/** A private key as PKCS #8 in PEM. */
export function privateKeyPem(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }).toString();
}
