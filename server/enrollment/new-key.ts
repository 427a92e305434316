/** A key for which a certificate is asked must be one that nobody has had. */
import { firstCertificate } from '../../certs/pem.ts';
import { spkiPin } from '../../certs/pin.ts';
import { FairleadError } from '../../shared/errors.ts';
import type { Tables } from '../store/all-tables.ts';
import type { EnrollmentAuthority } from './enrollment.ts';

/** @throws FairleadError CSR_INVALID if the key is the CA's, this server's or was ever that of a host or an operator */
export async function requireNewKey(
  authority: EnrollmentAuthority,
  pin: string,
  tables: Pick<Tables, 'certificates' | 'operatorCertificates'>,
): Promise<void> {
  if (authority.isTrusted(pin) || pin === spkiPin(firstCertificate(authority.serverTls().cert))) {
    throw new FairleadError('CSR_INVALID', 'the key in the certificate request is the one of this server');
  }
  if ((await tables.certificates.isKeyKnown(pin)) || (await tables.operatorCertificates.isKeyKnown(pin))) {
    throw new FairleadError('CSR_INVALID', 'the key in the certificate request is in use already: make a new one');
  }
}
