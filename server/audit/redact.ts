/** Takes secrets and excess out of what goes into the audit log, whatever a caller passed by mistake. */
import type { AuditDetail } from '../store/audit-rows.ts';

const MAX_TEXT_CHARS = 1024;
/** What is looked at of a longer text: a secret that begins before the cut is not left in half. */
const MAX_SCANNED_CHARS = 8 * MAX_TEXT_CHARS;
const MAX_ENTRIES = 64;
const MAX_DEPTH = 4;
const MAX_DETAIL_CHARS = 16 * 1024;

const SECRET_KEY = /^(token|secret|password|passphrase|authorization|bearer|csr|key|key_?pem|private_?key|env)$/i;
/** Names of options and variables whose values are secrets. */
const SECRET_NAME = String.raw`[\w.-]{0,40}(?:passw(?:or)?d|passphrase|passcode|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?)[\w.-]{0,40}`;
/**
 * `--password=…`, `PGPASSWORD=…`, `"secret": "…"`, `token: …`; the value goes up to a blank, a quote's end or a separator.
 * A colon between two words alone makes a name, as `enrollment-token:ID` is one.
 */
const ASSIGNED = new RegExp(
  String.raw`(\b${SECRET_NAME}(?:["']?\s{0,8}=\s{0,8}|["']\s{0,8}:\s{0,8}|\s{0,8}:\s{1,8}))("[^"]*"|'[^']*'|[^\s"'&;,|]+)`,
  'gi',
);
/** `--password …` inside of one text. */
const FOLLOWED = new RegExp(String.raw`((?:^|\s)--?${SECRET_NAME}\s+)("[^"]*"|'[^']*'|[^\s-][^\s]*)`, 'gi');
/** … and as an argument of its own, whose value is the next one. */
const SECRET_OPTION = new RegExp(`^--?${SECRET_NAME}$`, 'i');
const AUTHORIZATION = /\b(authorization\s*[:=]\s*(?:(?:bearer|basic|digest|token)\s+)?|bearer\s+)[^\s"']+/gi;
/** `https://user:secret@host` */
const URL_PASSWORD = /(\b[a-z][a-z0-9+.-]*:\/\/[^\s/@:]*:)[^\s/@]+(?=@)/gi;
/** Tokens that are known by their form. */
const KNOWN =
  /\b(gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{20,}|xox[abprs]-[\w-]{10,}|AKIA[0-9A-Z]{16}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*)/g;
const TOKEN = /\bfl[ae]1\.[A-Za-z0-9_-]*/g;
const PRIVATE_KEY = /-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(-----END [A-Z ]*PRIVATE KEY-----|$)/g;

/**
 * `text` without tokens, private keys and what is written as a secret's value, and cut to 1024 characters. What nothing
 * marks as a secret (`mysql -phunter2`, a password as a bare argument) cannot be told from other text and stays.
 */
export function redactText(text: string): string {
  const clean = wellFormed(text.slice(0, MAX_SCANNED_CHARS))
    .replace(PRIVATE_KEY, '[private key]')
    .replace(TOKEN, '[token]')
    .replace(KNOWN, '[token]')
    .replace(AUTHORIZATION, '$1[redacted]')
    .replace(URL_PASSWORD, '$1[redacted]')
    .replace(ASSIGNED, '$1[redacted]')
    .replace(FOLLOWED, '$1[redacted]');
  return clean.length > MAX_TEXT_CHARS ? `${wellFormed(clean.slice(0, MAX_TEXT_CHARS))}…` : clean;
}

/** Text that every database keeps as it is: without halves of characters and without NUL. */
function wellFormed(text: string): string {
  return text.toWellFormed().replaceAll('\0', '\ufffd');
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
  if (Array.isArray(value)) return redactList(value.slice(0, MAX_ENTRIES), depth + 1);
  const entries = Object.entries(value).slice(0, MAX_ENTRIES);
  return Object.fromEntries(
    entries.map(([key, entry]) => [
      redactText(key),
      SECRET_KEY.test(key) && entry !== undefined ? '[redacted]' : redact(entry, depth + 1),
    ]),
  );
}

/** Arguments of a command, for one: the one behind `--password` is a secret. */
function redactList(values: readonly unknown[], depth: number): unknown[] {
  return values.map((value, index) => {
    const before = values[index - 1];
    const isSecret = typeof value === 'string' && typeof before === 'string' && SECRET_OPTION.test(before);
    return isSecret ? '[redacted]' : redact(value, depth);
  });
}
