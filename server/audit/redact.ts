/** Takes secrets and excess out of what goes into the audit log, whatever a caller passed by mistake. */
import type { AuditDetail } from '../store/audit-rows.ts';

const MAX_TEXT_CHARS = 1024;
/** What is looked at of a longer text: a secret that begins before the cut is not left in half. */
const MAX_SCANNED_CHARS = 8 * MAX_TEXT_CHARS;
const MAX_ENTRIES = 64;
const MAX_DEPTH = 4;
const MAX_DETAIL_CHARS = 16 * 1024;
/** What is left of each text of a detail that is too large, as far as it must be. */
const SHORTENED_CHARS = [128, 32];

const SECRET_KEY = /^(token|secret|password|passphrase|authorization|bearer|csr|key|key_?pem|private_?key|env)$/i;
/** What names of options and variables whose values are secrets have in them, and what may follow it. */
const SECRET_WORD = String.raw`(?:passw(?:or)?d|passphrase|passcode|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?)[\w.-]{0,40}`;
const SECRET_NAME = String.raw`[\w.-]{0,40}${SECRET_WORD}`;
/**
 * `--password=…`, `PGPASSWORD=…`, `"secret": "…"`, `token: …`; the value goes up to a blank, a quote's end or a separator.
 * A colon between two words alone makes a name, as `enrollment-token:ID` is one.
 */
const ASSIGNED = new RegExp(
  String.raw`(${SECRET_WORD}(?:["']?\s{0,8}=\s{0,8}|["']\s{0,8}:\s{0,8}|\s{0,8}:\s{1,8}))("[^"]*"|'[^']*'|[^\s"'&;,|]+)`,
  'gi',
);
/** `--password …` inside of one text. */
const FOLLOWED = new RegExp(String.raw`((?:^|\s)--?${SECRET_NAME}\s+)("[^"]*"|'[^']*'|[^\s-][^\s]*)`, 'gi');
/** … and as an argument of its own, whose value is the next one. */
const SECRET_OPTION = new RegExp(`^--?${SECRET_NAME}$`, 'i');
const AUTHORIZATION = /\b(authorization\s*[:=]\s*(?:(?:bearer|basic|digest|token)\s+)?|bearer\s+)[^\s"']+/gi;
/** `https://user:secret@host` */
const URL_PASSWORD = /(:\/\/[^\s/@:]*:)[^\s/@]+(?=@)/g;
/** Tokens that are known by their form. */
const KNOWN =
  /\b(gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{20,}|xox[abprs]-[\w-]{10,}|AKIA[0-9A-Z]{16})/g;
/** One that says what it holds (JWT), or what begins like one: looked through once, whatever it is. */
const JWT = /\beyJ[\w-]{10,}(\.[\w-]{10,}\.[\w-]*)?/g;
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
    .replace(JWT, (found: string, rest?: string) => (rest === undefined ? found : '[token]'))
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

/**
 * `detail` without secrets, in bounds, and made of what JSON can hold. Of too much, each text is kept in part: nobody shall
 * hide one behind the others.
 */
export function redactDetail(detail: AuditDetail): AuditDetail {
  const clean = redact(detail, 0) as AuditDetail;
  for (const chars of [MAX_TEXT_CHARS, ...SHORTENED_CHARS]) {
    const text = JSON.stringify(clean, (_, value) => (typeof value === 'string' ? shortened(value, chars) : value));
    if (text.length <= MAX_DETAIL_CHARS) return JSON.parse(text) as AuditDetail;
  }
  return { omitted: 'the detail was too large' };
}

function shortened(text: string, chars: number): string {
  // A text that was cut before has its ellipsis behind.
  return text.length <= chars + 1 ? text : `${wellFormed(text.slice(0, chars))}…`;
}

function redact(value: unknown, depth: number): unknown {
  if (typeof value === 'string') return redactText(value);
  if (typeof value === 'bigint') return value.toString();
  if (typeof value !== 'object' || value === null) return value;
  if (value instanceof Date) return value.toISOString();
  if (value instanceof Uint8Array) return `[${value.length} bytes]`;
  if (depth >= MAX_DEPTH) return '[nested too deeply]';
  if (Array.isArray(value)) {
    const list = redactList(value.slice(0, MAX_ENTRIES), depth + 1);
    return value.length > MAX_ENTRIES ? [...list, `… and ${value.length - MAX_ENTRIES} more`] : list;
  }
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
