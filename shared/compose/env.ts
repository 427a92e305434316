/** The variables of a stack: which names they may have, and how their values are kept out of what is shown. */
import { FairleadError } from '../errors.ts';
import type { StackEnv } from '../messages/stack.ts';
import { MAX_ENV_CHARS } from './limits.ts';

/** What Compose, Docker's client and what they start look at themselves: a stack must not steer them. */
const STEERING = /^(?:COMPOSE_|DOCKER_|BUILDKIT_|BUILDX_|LD_|PYTHON|GODEBUG$|PATH$|HOME$|TMPDIR$|IFS$|ENV$|BASH_ENV$)/i;
/** Shorter ones stand in too much else; whoever has so short a secret has none. */
const MIN_MASKED_CHARS = 4;
const MASK = '[redacted]';

/** @throws FairleadError VALIDATION that names the variable and never shows its value; PAYLOAD_TOO_LARGE */
export function checkEnv(env: StackEnv): void {
  let chars = 0;
  for (const [name, value] of Object.entries(env)) {
    chars += name.length + value.length;
    if (name === 'COMPOSE_PROJECT_NAME') throw unfit(name, "the stack's own name is that of the project");
    if (STEERING.test(name) && name !== 'COMPOSE_PROFILES') {
      throw unfit(name, 'it would change what Compose itself does: give the variable another name');
    }
    if (value.includes('\0')) throw unfit(name, 'it has a NUL in it');
    if (/^[\r\n]/.test(value)) throw unfit(name, 'it begins with a line break, which Compose would drop');
  }
  if (chars > MAX_ENV_CHARS) {
    throw new FairleadError('PAYLOAD_TOO_LARGE', `the variables are larger than ${MAX_ENV_CHARS / 1024} KiB together`);
  }
}

function unfit(name: string, why: string): FairleadError {
  return new FairleadError('VALIDATION', `the variable ${name} cannot be set: ${why}`);
}

/** What puts a mask in the place of each value of `env` in a text, in the forms in which programs print it. */
export function masker(env: StackEnv): (text: string) => string {
  const secrets = new Set<string>();
  for (const value of Object.values(env)) {
    for (const line of [value, ...value.split(/\r?\n/)]) {
      if (line.trim().length < MIN_MASKED_CHARS) continue;
      secrets.add(line);
      secrets.add(JSON.stringify(line).slice(1, -1));
    }
  }
  // The longest first: one may be a part of another.
  const sorted = [...secrets].sort((a, b) => b.length - a.length);
  return (text) => sorted.reduce((masked, secret) => masked.replaceAll(secret, MASK), text);
}
