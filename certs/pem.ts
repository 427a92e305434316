/** PEM, read strictly: one block, nothing around it, canonical base64. */
import { X509Certificate } from 'node:crypto';
import { FairleadError } from '../shared/errors.ts';

const LINE_CHARS = 64;

/** The PEM text of `der`, with a newline at its end. */
export function encodePem(label: string, der: Buffer): string {
  const lines = der.toString('base64').match(new RegExp(`.{1,${LINE_CHARS}}`, 'g')) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}

/** The bytes of the one block that `pem` consists of, or undefined if it is anything else. White space around is fine. */
export function decodePem(label: string, pem: string): Buffer | undefined {
  const lines = pem.trim().split(/\r?\n/);
  if (lines.length < 3 || lines[0] !== `-----BEGIN ${label}-----`) return undefined;
  if (lines.at(-1) !== `-----END ${label}-----`) return undefined;
  const body = lines.slice(1, -1).join('');
  const der = Buffer.from(body, 'base64');
  // Node's decoder skips what is not base64, so only the way back tells.
  return der.length > 0 && der.toString('base64') === body ? der : undefined;
}

/**
 * The one certificate that `pem` consists of. A second one is refused: whoever compares the pin of the first and then
 * trusts the whole text would trust the second as well.
 * @throws FairleadError VALIDATION
 */
export function readCertificate(pem: string): X509Certificate {
  const der = decodePem('CERTIFICATE', pem);
  if (der === undefined) throw new FairleadError('VALIDATION', 'this is not exactly one certificate in PEM form');
  const damaged = (cause?: unknown) => new FairleadError('VALIDATION', 'the certificate is damaged', { cause });
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(der);
  } catch (cause) {
    throw damaged(cause);
  }
  // OpenSSL reads one certificate, in any encoding of its outermost length, and leaves what follows it.
  if (!certificate.raw.equals(der)) throw damaged();
  return certificate;
}

const CERTIFICATE_BLOCKS = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g;

/** The certificates in `text`, each as a PEM text of its own. Whether they are any, only reading them tells. */
export function certificateBlocks(text: string): string[] {
  return (text.match(CERTIFICATE_BLOCKS) ?? []).map((block) => `${block.replaceAll('\r', '')}\n`);
}

/** The first certificate of a chain, in PEM: the one that the chain is about. @throws FairleadError VALIDATION */
export function firstCertificate(chain: string): string {
  const [first] = certificateBlocks(chain);
  if (first === undefined) throw new FairleadError('VALIDATION', 'this holds no certificate in PEM form');
  return first;
}
