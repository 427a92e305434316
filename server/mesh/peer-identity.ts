/** Who is at the other end of an agent connection, by its certificate alone. */
import { Socket } from 'node:net';
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

/**
 * The connection under a TLS socket, which still tells where it came from when TLS has destroyed the socket. Node has no
 * public name for it.
 */
export function connectionUnder(socket: TLSSocket): Socket | undefined {
  const { _parent: connection } = socket as { _parent?: unknown };
  return connection instanceof Socket ? connection : undefined;
}

/** The serial of whatever certificate a peer has shown. */
export function peerSerial(socket: TLSSocket): string | undefined {
  const certificate = socket.getPeerX509Certificate();
  return certificate && normalizeSerial(certificate.serialNumber);
}

/** Why TLS took no certificate of a peer, if it showed one at all. */
export function certificateRefusal({ authorizationError: why }: TLSSocket): FairleadError | undefined {
  // Node says a code, whatever its types say; most who come by chance show no certificate.
  const code = why === undefined || why === null ? '' : String(why);
  if (code === '' || code === 'ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE') return undefined;
  if (code === 'CERT_HAS_EXPIRED') return new FairleadError('CERT_EXPIRED', 'the certificate has expired');
  return new FairleadError('CERT_UNKNOWN', `the certificate is not of a CA of this installation (${code})`);
}

function unknown(why: string): FairleadError {
  return new FairleadError('CERT_UNKNOWN', why);
}
