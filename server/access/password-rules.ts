/** Which passwords are taken: long ones that are not a guesser's first try. No rule about kinds of characters (NIST SP 800-63B). */
import { FairleadError } from '../../shared/errors.ts';

const MIN_PASSWORD_CHARS = 12;
export const MAX_PASSWORD_BYTES = 1024;
/** Fewer different characters than this are a pattern, not a password. */
const MIN_DISTINCT_CHARS = 5;
const RUNS = [
  'abcdefghijklmnopqrstuvwxyz',
  '0123456789'.repeat(3),
  'qwertyuiopasdfghjklzxcvbnm',
  'qwertzuiopasdfghjklyxcvbnm',
];
/** Words that, with digits and signs around them, are what lists of leaked passwords are full of. */
const COMMON =
  /^[^a-z]*(password|passwort|passw[o0]rd|letmein|welcome|admin|administrator|fairlead|changeme|iloveyou|qwerty|docker)+[^a-z]*$/;

/** @throws FairleadError VALIDATION that says what is wrong, never what was given */
export function checkPassword(password: string, userName: string): void {
  const why = objection(password, userName);
  if (why !== undefined) throw new FairleadError('VALIDATION', `the password is not acceptable: ${why}`);
}

function objection(password: string, userName: string): string | undefined {
  const normal = password.normalize('NFKC');
  const characters = [...normal];
  if (characters.length < MIN_PASSWORD_CHARS) return `it needs at least ${MIN_PASSWORD_CHARS} characters`;
  if (Buffer.byteLength(normal) > MAX_PASSWORD_BYTES) return `it may have at most ${MAX_PASSWORD_BYTES} bytes`;
  if (/\p{Cc}/u.test(normal)) return 'it holds a line break or another control character';
  if (new Set(characters).size < MIN_DISTINCT_CHARS) {
    return `it needs at least ${MIN_DISTINCT_CHARS} different characters`;
  }
  const lower = normal.toLowerCase();
  const name = userName.toLowerCase();
  // What is left without the name must be a password by itself.
  if (name.length >= 3 && lower.includes(name) && lower.replaceAll(name, '').length < MIN_PASSWORD_CHARS) {
    return 'it is little more than the name of its user';
  }
  if (RUNS.some((run) => run.includes(lower) || [...run].reverse().join('').includes(lower)))
    return 'it is a row of keys';
  if (COMMON.test(lower)) return 'it is one of those that are tried first';
  return undefined;
}
