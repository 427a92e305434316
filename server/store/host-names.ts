/** What a host may be called, and how a name is made from a machine's own. */
import { FairleadError } from '../../shared/errors.ts';

const MAX_HOST_NAME_CHARS = 63;
const HOST_NAME = /^[a-z0-9][a-z0-9._-]{0,62}$/i;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** Whether `ref` has the form of a host's id. */
export function isHostId(ref: string): boolean {
  return UUID.test(ref);
}

/** @throws FairleadError VALIDATION with the rule in words. */
export function checkHostName(name: string): void {
  if (!HOST_NAME.test(name)) {
    throw new FairleadError(
      'VALIDATION',
      `a host name has 1 to ${MAX_HOST_NAME_CHARS} letters, digits, dots, hyphens and underscores, and begins with a letter or digit`,
    );
  }
  if (isHostId(name)) throw new FairleadError('VALIDATION', 'a host name must not have the form of a host id');
}

/** The form in which names are compared. */
export function hostNameKey(name: string): string {
  return name.toLowerCase();
}

/** A valid host name made from a machine's host name, whatever that holds. */
export function nameFromHostname(hostname: string): string {
  const name = hostname
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, '-')
    .replace(/^[^a-z0-9]+/, '')
    .slice(0, MAX_HOST_NAME_CHARS)
    .replace(/[^a-z0-9]+$/, '');
  if (name === '') return 'host';
  return isHostId(name) ? `host-${name}` : name;
}

/** The `n`th name to try for `base`: itself, then with `-2`, `-3` and so on. */
export function numberedName(base: string, n: number): string {
  if (n === 1) return base;
  const suffix = `-${n}`;
  return base.slice(0, MAX_HOST_NAME_CHARS - suffix.length) + suffix;
}
