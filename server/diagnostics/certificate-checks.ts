/** What is to be said of the CA and of the certificates that the server itself shows. */
import { X509Certificate } from 'node:crypto';
import { type Check, fail, ok, warn } from '../../shared/doctor/check.ts';
import { isFairleadError } from '../../shared/errors.ts';
import { readApiCertificate } from '../config.ts';
import type { DiagnosticParts } from './parts.ts';

const DAY_MS = 24 * 60 * 60_000;
/** Our own leaf renews itself at two thirds of its 90 days; the operator's is warned of from here. */
const LEAF_WARN_DAYS = 14;

export async function certificateChecks(parts: DiagnosticParts, now: number): Promise<Check[]> {
  return [root(parts, now), rotation(parts), leaf(parts, now), ...(await apiCertificate(parts, now))];
}

function root({ authority }: DiagnosticParts, now: number): Check {
  const { ca } = authority;
  const what = ca.isIntermediate ? 'the intermediate below the offline root' : 'the root';
  const summary = `${what} is valid until ${ca.notAfter.toISOString()}; ${authority.caFingerprint}`;
  if (ca.notAfter.getTime() <= now) {
    return fail('ca', `${what} has expired`, 'renew it: "Offline root" and "Rotation" in server/OPERATIONS.md');
  }
  const [warning] = authority.warnings();
  return warning === undefined ? ok('ca', summary) : warn('ca', summary, warning);
}

function rotation({ authority: { phase } }: DiagnosticParts): Check {
  if (phase === 'stable') return ok('ca.rotation', 'no rotation of the root is under way');
  const next = phase === 'published' ? '--activate, or --abort' : '--retire, or --abort';
  return warn(
    'ca.rotation',
    `a rotation of the root is under way: ${phase}`,
    `see in \`fairlead ca show\` which hosts are behind, then \`fairlead ca rotate ${next}\``,
  );
}

function leaf({ authority }: DiagnosticParts, now: number): Check {
  const { notAfter, days } = lifeOf(authority.serverTls().cert, now);
  const summary = `the server's certificate is valid until ${notAfter}`;
  if (days >= LEAF_WARN_DAYS) return ok('tls.server', summary);
  return (days < 0 ? fail : warn)('tls.server', summary, 'it should have renewed itself: see the log of the server');
}

async function apiCertificate({ config }: DiagnosticParts, now: number): Promise<Check[]> {
  try {
    const files = await readApiCertificate(config);
    if (files === undefined) return [];
    const { notAfter, days } = lifeOf(files.cert, now);
    const summary = `the certificate of --api-cert is valid until ${notAfter}`;
    if (days >= LEAF_WARN_DAYS) return [ok('tls.api', summary)];
    const advice =
      'put a new one and its key into the files of --api-cert and --api-key: the server takes them by itself';
    return [(days < 0 ? fail : warn)('tls.api', summary, advice)];
  } catch (error) {
    if (!isFairleadError(error)) throw error;
    return [
      fail(
        'tls.api',
        error.message,
        'the one that was read before is in use until the next start: put the files right',
      ),
    ];
  }
}

function lifeOf(pem: string, now: number): { notAfter: string; days: number } {
  const end = new X509Certificate(pem).validToDate;
  return { notAfter: end.toISOString(), days: Math.floor((end.getTime() - now) / DAY_MS) };
}
