/** A client certificate for the API whose key is made here and never leaves this machine. */
import type { KeyObject } from 'node:crypto';
import { createCsr } from '../../certs/csr.ts';
import type { ApiClient } from './api-client.ts';
import type { CreatedOperatorCertificate } from './api-types.ts';

/** Who the certificate is for, and what it may do. */
export interface CertificateRequest {
  readonly name: string;
  readonly role: string;
  readonly ttlSeconds?: number | undefined;
  readonly hosts?: readonly string[] | undefined;
  readonly tags?: readonly string[] | undefined;
}

/** A certificate that was issued, with what its holder verifies the server by. */
export interface IssuedCertificate extends CreatedOperatorCertificate {
  /** PEM; undefined where the API's certificate is one that the system knows. */
  readonly serverCa: string | undefined;
}

export async function requestCertificate(
  api: ApiClient,
  privateKey: KeyObject,
  { name, role, ttlSeconds, hosts, tags }: CertificateRequest,
): Promise<IssuedCertificate> {
  const made = await api.post<CreatedOperatorCertificate>('/api/v1/operator-certificates', {
    csr: await createCsr(privateKey),
    name,
    role,
    ...(ttlSeconds === undefined ? {} : { ttlSeconds }),
    ...(hosts === undefined ? {} : { hosts }),
    ...(tags === undefined ? {} : { tags }),
  });
  const { trust } = api;
  return { ...made, serverCa: trust.kind === 'file' ? trust.ca : trust.kind === 'system' ? undefined : made.ca };
}
