/** Who is at the other end of an agent connection, by its certificate alone. */
import type { TLSSocket } from 'node:tls';
import { parseAgentUri } from '../../certs/names.ts';
import { pinOfSpki, spkiOf } from '../../certs/pin.ts';
import { normalizeSerial } from '../../certs/serial.ts';
import { authorityKeyIdentifier } from '../../certs/x509-fields.ts';
import { FairleadError } from '../../shared/errors.ts';

export interface PeerIdentity {
  readonly hostId: string;
  readonly serial: string;
  /** The pin of the key that the other end has proven to hold. */
  readonly spkiPin: string;
  /** ms since 1970. */
  readonly notAfter: number;
  /** The key identifier of the CA that issued the certificate, in hex. */
  readonly issuerKey: string;
}

const CLIENT_AUTH_OID = '1.3.6.1.5.5.7.3.2';

/**
 * Reads the identity from a socket whose chain TLS has verified.
 * @throws FairleadError CERT_UNKNOWN when the certificate is not an agent certificate of this installation
 */
export function peerIdentity(socket: TLSSocket, installationId: string): PeerIdentity {
  const certificate = socket.getPeerX509Certificate();
  if (!socket.authorized || certificate === undefined) throw unknown('no verified certificate was presented');
  // A resumed session would skip the proof of possession and every check of the chain.
  if (socket.isSessionReused()) throw unknown('resumed TLS sessions are not accepted');
  const usages = certificate.keyUsage ?? [];
  if (certificate.ca || usages.length !== 1 || usages[0] !== CLIENT_AUTH_OID) {
    throw unknown('the certificate is not for agents');
  }
  const uri = /^URI:(\S+)$/.exec(certificate.subjectAltName ?? '')?.[1];
  const names = uri === undefined ? undefined : parseAgentUri(uri);
  if (names?.installationId !== installationId) throw unknown('the certificate names no agent of this installation');
  return {
    hostId: names.hostId,
    serial: normalizeSerial(certificate.serialNumber),
    spkiPin: pinOfSpki(spkiOf(certificate.publicKey)),
    notAfter: certificate.validToDate.getTime(),
    issuerKey: authorityKeyIdentifier(certificate)?.toString('hex') ?? '',
  };
}

function unknown(why: string): FairleadError {
  return new FairleadError('CERT_UNKNOWN', why);
}
