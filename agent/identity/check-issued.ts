/** Whether a certificate that the server handed out is the one this host asked for. */
import { createPrivateKey, type X509Certificate } from 'node:crypto';
import { rootOf } from '../../certs/chain.ts';
import { agentIdentity } from '../../certs/names.ts';
import { firstCertificate, readCertificate } from '../../certs/pem.ts';
import { rootsIn } from '../../certs/trust.ts';
import { FairleadError } from '../../shared/errors.ts';

const CLIENT_AUTH_OID = '1.3.6.1.5.5.7.3.2';

/**
 * Checks that `certPem` was issued below one of the roots in `caPem` for the key and the host, for client authentication
 * only, and is valid now. The intermediate that issued it may stand behind it.
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
  const usages = certificate.keyUsage ?? [];
  if (rootOf(issued.certPem, rootsIn(issued.caPem), issued.now) === undefined) throw wrong('is not from the pinned CA');
  if (!certificate.checkPrivateKey(createPrivateKey(issued.keyPem))) throw wrong('is not for the key made here');
  if (certificate.ca || usages.length !== 1 || usages[0] !== CLIENT_AUTH_OID) throw wrong("is not an agent's");
  if (agentIdentity(certificate)?.hostId !== issued.hostId) throw wrong('names another host');
  if (issued.now < certificate.validFromDate.getTime() || issued.now > certificate.validToDate.getTime()) {
    throw wrong("is not valid now: this machine's clock and the server's differ");
  }
}

function parse(pem: string): X509Certificate {
  try {
    return readCertificate(firstCertificate(pem));
  } catch (cause) {
    throw new FairleadError('PROTOCOL_ERROR', "the server's answer holds no certificate", { cause });
  }
}

function wrong(what: string): FairleadError {
  return new FairleadError('PROTOCOL_ERROR', `the certificate that the server handed out ${what}`);
}
