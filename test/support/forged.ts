/** What somebody makes who has got hold of a CA's key: certificates under serials of their own choice. */
import { createPrivateKey, createPublicKey } from 'node:crypto';
import { OID } from '../../certs/asn1.ts';
import type { CaMaterial } from '../../certs/authority.ts';
import { issuerOf } from '../../certs/issuer.ts';
import { agentUri, operatorUri } from '../../certs/names.ts';
import { sign } from '../../certs/native.ts';
import { encodePem, readCertificate } from '../../certs/pem.ts';
import { spkiOf } from '../../certs/pin.ts';
import { uriName } from '../../certs/subject-alt-names.ts';
import { certificate, distinguishedName, leafExtensions, toBeSigned } from '../../certs/template.ts';

export interface Forgery {
  readonly serial: string;
  readonly installationId: string;
  /** Of a host or an operator. */
  readonly id: string;
  readonly kind: 'agent' | 'operator';
  /** Whose public half stands in the certificate. */
  readonly keyPem: string;
  /** ms since 1970. */
  readonly notAfter: number;
}

/** A client's certificate by the CA's own key, right in all but that nobody has issued it. In PEM. */
export async function forgedCertificate(ca: CaMaterial, forgery: Forgery): Promise<string> {
  const { serial, installationId, id, kind, keyPem, notAfter } = forgery;
  const issuer = issuerOf(readCertificate(ca.certPem), createPrivateKey(ca.keyPem));
  const spki = spkiOf(createPublicKey(keyPem));
  const uri = kind === 'agent' ? agentUri(installationId, id) : operatorUri(installationId, id);
  const purpose = OID.clientAuth;
  const tbs = toBeSigned({
    serial,
    issuer: issuer.name,
    subject: distinguishedName([[OID.commonName, id]]),
    notBefore: new Date(notAfter - 86_400_000),
    notAfter: new Date(notAfter),
    spki,
    extensions: leafExtensions({ spki, purpose, names: [uriName(uri)], issuerKeyIdentifier: issuer.keyIdentifier }),
  });
  return encodePem('CERTIFICATE', certificate(tbs, await sign('sha256', tbs, issuer.key)));
}
