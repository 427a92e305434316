/** How a host whose certificate no longer opens a session proves that it holds its key, and what it asks for with it. */
import { createHash, type KeyObject, type X509Certificate } from 'node:crypto';
import { sign, verify } from './native.ts';

/** Keeps a proof from being taken for a signature over anything else, and the other way round. */
const DOMAIN = 'fairlead recovery v1\0';

/** A signature by the key of `certificate` over it and the request `csr` (PEM, byte for byte), in base64. */
export async function proveRecovery(certificate: X509Certificate, csr: string, key: KeyObject): Promise<string> {
  return (await sign('sha256', claim(certificate, csr), key)).toString('base64');
}

/** Whether `proof` is what `proveRecovery` makes with the key of `certificate`. */
export async function isRecoveryProof(certificate: X509Certificate, csr: string, proof: string): Promise<boolean> {
  return await verify('sha256', claim(certificate, csr), certificate.publicKey, Buffer.from(proof, 'base64'));
}

function claim(certificate: X509Certificate, csr: string): Buffer {
  const digest = (bytes: Buffer) => createHash('sha256').update(bytes).digest();
  return Buffer.concat([Buffer.from(DOMAIN), digest(certificate.raw), digest(Buffer.from(csr))]);
}
