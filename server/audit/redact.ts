/** Takes secrets and excess out of what goes into the audit log, whatever a caller passed by mistake. */
import type { AuditDetail } from '../store/audit-rows.ts';

const MAX_TEXT_CHARS = 1024;
const MAX_ENTRIES = 64;
const MAX_DEPTH = 4;
const MAX_DETAIL_CHARS = 16 * 1024;

const SECRET_KEY = /^(token|secret|password|passphrase|authorization|bearer|csr|key|key_?pem|private_?key|env)$/i;
const TOKEN = /\bfl[ae]1\.[A-Za-z0-9_-]*/g;
const PRIVATE_KEY = /-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(-----END [A-Z ]*PRIVATE KEY-----|$)/g;

/** `text` without tokens and private keys, and cut to 1024 characters. */
export function redactText(text: string): string {
  const clean = text.replace(PRIVATE_KEY, '[private key]').replace(TOKEN, '[token]');
  return clean.length > MAX_TEXT_CHARS ? `${clean.slice(0, MAX_TEXT_CHARS)}…` : clean;
}

/** `detail` without secrets, in bounds, and made of what JSON can hold. */
export function redactDetail(detail: AuditDetail): AuditDetail {
  const clean = redact(detail, 0) as AuditDetail;
  return JSON.stringify(clean).length > MAX_DETAIL_CHARS ? { omitted: 'the detail was too large' } : clean;
}

function redact(value: unknown, depth: number): unknown {
  if (typeof value === 'string') return redactText(value);
  if (typeof value === 'bigint') return value.toString();
  if (typeof value !== 'object' || value === null) return value;
  if (value instanceof Date) return value.toISOString();
  if (value instanceof Uint8Array) return `[${value.length} bytes]`;
  if (depth >= MAX_DEPTH) return '[nested too deeply]';
  if (Array.isArray(value)) return value.slice(0, MAX_ENTRIES).map((entry) => redact(entry, depth + 1));
  const entries = Object.entries(value).slice(0, MAX_ENTRIES);
  return Object.fromEntries(
    entries.map(([key, entry]) => [
      redactText(key),
      SECRET_KEY.test(key) && entry !== undefined ? '[redacted]' : redact(entry, depth + 1),
    ]),
  );
}
