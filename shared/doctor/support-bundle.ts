/** A support bundle: texts that say how an installation or a host is, without secrets, for whoever helps. */
import { archiveOf, type TextFile } from './archive.ts';
import { hideNamedSecrets } from './named-secrets.ts';

/** The largest file; of more, the end is left out. */
const MAX_FILE_CHARS = 4 * 1024 * 1024;
const CUT = '\n[the rest is left out]\n';

export interface BundleFile extends TextFile {
  /** What it is, for the README. */
  readonly about: string;
}

/** What looks like a secret, wherever it stands; each with what is put in its place. All are linear in what they look at. */
const SECRETS: readonly (readonly [RegExp, string])[] = [
  [/-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(-----END [A-Z ]*PRIVATE KEY-----|$)/g, '[private key]'],
  [/\bfl[ae]1\.[A-Za-z0-9_.-]+/g, '[token]'],
  [/\b(Bearer|Basic)\s+[A-Za-z0-9+/=_.~-]{8,}/gi, '$1 [credentials]'],
  [/\b([a-z][a-z0-9+.-]{0,20}:\/\/)[^\s/@"'\\]{1,500}@/gi, '$1[credentials]@'],
];

/** `text` without what looks like a secret: a second line behind the choice of what is taken in at all. */
export function scrub(text: string): string {
  return hideNamedSecrets(SECRETS.reduce((result, [pattern, instead]) => result.replace(pattern, instead), text));
}

/** JSON for people. */
export function json(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}

/** One value on each line. */
export function ndjson(values: readonly unknown[]): string {
  return values.map((value) => `${JSON.stringify(value)}\n`).join('');
}

/**
 * The bundle as a `.tar.gz`.
 * @param program that makes it, with its version
 * @param at ms since 1970
 */
export function supportBundle(program: string, files: readonly BundleFile[], at: number): Buffer {
  const scrubbed = files.map(({ name, text, about }) => ({ name, about, text: scrub(cut(text)) }));
  const readme = { name: 'README.txt', text: readmeOf(program, files, at) };
  return archiveOf(`fairlead-support-${stamp(at)}`, [readme, ...scrubbed], at);
}

function cut(text: string): string {
  return text.length <= MAX_FILE_CHARS ? text : text.slice(0, MAX_FILE_CHARS) + CUT;
}

function readmeOf(program: string, files: readonly BundleFile[], at: number): string {
  const width = Math.max(...files.map(({ name }) => name.length));
  return [
    `Made by ${program} on ${new Date(at).toISOString()}, for whoever helps.`,
    '',
    'In it are names of hosts, addresses and states. Not in it are tokens, keys, passphrases, variables of containers and',
    'stacks, what was run or typed, logs of containers, and details of the audit log. Look through it before you pass it on.',
    '',
    ...files.map(({ name, about }) => `${name.padEnd(width)}  ${about}`),
    '',
  ].join('\n');
}

/** `20300101T000000Z` */
function stamp(at: number): string {
  return new Date(at).toISOString().replace(/[-:]|\.\d+/g, '');
}
