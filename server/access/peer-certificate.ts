/** What a client's certificate says of it, read once per connection: neither renegotiation nor resumption changes it later. */
import type { X509Certificate } from 'node:crypto';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { agentIdentity, operatorIdentity } from '../../certs/names.ts';
import { pinOfSpki, spkiOf } from '../../certs/pin.ts';
import { normalizeSerial } from '../../certs/serial.ts';
import { authorityKeyIdentifier } from '../../certs/x509-fields.ts';

const CLIENT_AUTH_OID = '1.3.6.1.5.5.7.3.2';

/** A certificate of an operator of this installation. */
export interface OperatorPeer {
  readonly serial: string;
  readonly spkiPin: string;
  /** The key identifier of the CA that issued it, in hex. */
  readonly issuerKey: string;
}

/** … or why what was presented is none. */
export type PeerCertificate = OperatorPeer | { readonly refusal: string };

const VERIFY_ERRORS: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: 'it has expired',
  CERT_NOT_YET_VALID: 'it is not valid yet',
  INVALID_PURPOSE: 'it is not for clients',
};

/** The certificate that the other end of `socket` has presented; undefined if it has none, or there is no TLS. */
export function peerCertificate(socket: Socket, installationId: string): PeerCertificate | undefined {
  // Behind a proxy, and in tests that need no connection, there is no TLS here.
  if (!(socket instanceof TLSSocket)) return undefined;
  const certificate = socket.getPeerX509Certificate();
  return certificate === undefined ? undefined : judge(socket, certificate, installationId);
}

function judge(socket: TLSSocket, certificate: X509Certificate, installationId: string): PeerCertificate {
  if (!socket.authorized) {
    const code = String(socket.authorizationError);
    return {
      refusal:
        VERIFY_ERRORS[code] ?? `it is not one of this installation's CA, or of a root that was retired (${code})`,
    };
  }
  // A resumed session would skip the proof of possession and every check of the chain.
  if (socket.isSessionReused()) return { refusal: 'it comes with a resumed TLS session; connect anew' };
  const usages = certificate.keyUsage ?? [];
  if (certificate.ca || usages.length !== 1 || usages[0] !== CLIENT_AUTH_OID)
    return { refusal: 'it is not for clients' };
  if (agentIdentity(certificate) !== undefined) return { refusal: "it is an agent's, and agents do not use the API" };
  if (operatorIdentity(certificate)?.installationId !== installationId) {
    return { refusal: 'it names no operator of this installation' };
  }
  return {
    serial: normalizeSerial(certificate.serialNumber),
    spkiPin: pinOfSpki(spkiOf(certificate.publicKey)),
    issuerKey: authorityKeyIdentifier(certificate)?.toString('hex') ?? '',
  };
}
