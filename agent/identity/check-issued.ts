/** Whether a certificate that the server handed out is the one this host asked for. */
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { agentIdentity } from '../../certs/names.ts';
import { readCertificate } from '../../certs/pem.ts';
import { FairleadError } from '../../shared/errors.ts';

const CLIENT_AUTH_OID = '1.3.6.1.5.5.7.3.2';

/**
 * Checks that `certPem` was issued by `caPem` for the key and the host, for client authentication only, and is valid now.
 * @throws FairleadError PROTOCOL_ERROR, with what is wrong
 */
export function checkIssued(issued: {
  certPem: string;
  caPem: string;
  keyPem: string;
  hostId: string;
  /** ms since 1970. */
  now: number;
}): void {
  const certificate = parse(issued.certPem);
  const ca = new X509Certificate(issued.caPem);
  const usages = certificate.keyUsage ?? [];
  if (!certificate.checkIssued(ca) || !certificate.verify(ca.publicKey)) throw wrong('is not from the pinned CA');
  if (!certificate.checkPrivateKey(createPrivateKey(issued.keyPem))) throw wrong('is not for the key made here');
  if (certificate.ca || usages.length !== 1 || usages[0] !== CLIENT_AUTH_OID) throw wrong("is not an agent's");
  if (agentIdentity(certificate)?.hostId !== issued.hostId) throw wrong('names another host');
  if (issued.now < certificate.validFromDate.getTime() || issued.now > certificate.validToDate.getTime()) {
    throw wrong("is not valid now: this machine's clock and the server's differ");
  }
}

function parse(pem: string): X509Certificate {
  try {
    return readCertificate(pem);
  } catch (cause) {
    throw new FairleadError('PROTOCOL_ERROR', "the server's answer holds no certificate", { cause });
  }
}

function wrong(what: string): FairleadError {
  return new FairleadError('PROTOCOL_ERROR', `the certificate that the server handed out ${what}`);
}
