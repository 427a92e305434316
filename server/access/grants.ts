/** What an administrator grants by a certificate or a user: a role under a name, everywhere or on some hosts alone. */
import { FairleadError } from '../../shared/errors.ts';
import { MAX_NAME_CHARS } from '../../shared/limits.ts';
import type { Role } from '../../shared/messages/kind.ts';
import { isRole, ROLES } from './roles.ts';
import type { HostScope } from './scope.ts';

export interface Grant {
  /** What people call it: 1 to 64 characters. */
  readonly name: string;
  readonly role: Role;
}

/** @throws FairleadError VALIDATION that names the field */
export function checkGrant({ name, role }: Grant): void {
  if (name.trim() === '' || name.length > MAX_NAME_CHARS || /\p{Cc}/u.test(name)) {
    throw new FairleadError('VALIDATION', `name is not valid: it has 1 to ${MAX_NAME_CHARS} printable characters`);
  }
  if (!isRole(role)) throw new FairleadError('VALIDATION', `role is not valid: it is one of ${ROLES.join(', ')}`);
}

/** Stands in a row for a grant that holds everywhere. */
export const EVERYWHERE: HostScope = { hosts: [], tags: [] };

/** The scope of a principal; none if nothing is listed: then the grant holds everywhere. */
export function scopeOf({ hosts, tags }: HostScope): { readonly scope?: HostScope } {
  return hosts.length === 0 && tags.length === 0 ? {} : { scope: { hosts, tags } };
}
