/** What the flags of the audit log mean. */
import { resolve } from 'node:path';
import { FairleadError } from '../shared/errors.ts';

const UNIT_MS: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: 86_400_000, y: 365 * 86_400_000 };
/** Shorter, a row could go before anybody has seen it. */
const MIN_KEEP_MS = 60 * 60_000;

/** How long rows are kept and who gets them, as paths and URLs. */
export interface AuditConfig {
  /** In ms; undefined: for ever. */
  readonly keepMs: number | undefined;
  readonly file: string | undefined;
  readonly webhook:
    | { readonly url: URL; readonly secretFile: string | undefined; readonly caFile: string | undefined }
    | undefined;
}

export interface AuditFlags {
  readonly auditRetention: string;
  readonly auditFile?: string;
  readonly auditWebhook?: string;
  readonly auditWebhookSecretFile?: string;
  readonly auditWebhookCaFile?: string;
}

/** @throws FairleadError VALIDATION that names the flag */
export function parseAudit(flags: AuditFlags): AuditConfig {
  const { auditWebhook, auditWebhookSecretFile: secretFile, auditWebhookCaFile: caFile } = flags;
  const unused = secretFile !== undefined ? 'secret-file' : caFile !== undefined ? 'ca-file' : undefined;
  if (auditWebhook === undefined && unused !== undefined)
    throw invalid(`--audit-webhook-${unused} needs --audit-webhook`);
  const absolute = (path: string | undefined) => (path === undefined ? undefined : resolve(path));
  return {
    keepMs: parseRetention('--audit-retention', flags.auditRetention),
    file: absolute(flags.auditFile),
    webhook:
      auditWebhook === undefined
        ? undefined
        : { url: parseWebhook(auditWebhook), secretFile: absolute(secretFile), caFile: absolute(caFile) },
  };
}

/** How long to keep rows, in ms; undefined: for ever. @throws FairleadError VALIDATION that names the flag */
export function parseRetention(flag: string, text: string): number | undefined {
  if (text === 'never' || text === '0') return undefined;
  const [, count, unit = ''] = /^(\d{1,6})([mhdy])$/.exec(text) ?? [];
  const ms = Number(count) * (UNIT_MS[unit] ?? Number.NaN);
  if (ms >= MIN_KEEP_MS) return ms;
  throw invalid(`${flag} ${JSON.stringify(text)} is no time of at least 1h, as in 90d or 2y, nor never`);
}

function parseWebhook(text: string): URL {
  const url = URL.parse(text);
  if (url === null || !['http:', 'https:'].includes(url.protocol)) {
    throw invalid('--audit-webhook is no URL: give it as https://HOST/PATH');
  }
  if (url.username !== '' || url.password !== '') throw invalid('--audit-webhook takes no user or password in its URL');
  if (url.protocol === 'http:' && !isLoopback(url.hostname)) {
    throw invalid('--audit-webhook would send the log unencrypted: http:// is for this machine only, use https://');
  }
  url.hash = '';
  return url;
}

function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname);
}

function invalid(message: string): FairleadError {
  return new FairleadError('VALIDATION', message);
}
