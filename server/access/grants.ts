/** What an administrator grants by a certificate or a user: a role under a name, everywhere or on some hosts alone. */
import { FairleadError } from '../../shared/errors.ts';
import { MAX_NAME_CHARS, MAX_TAGS } from '../../shared/limits.ts';
import { Tags } from '../../shared/messages/control.ts';
import type { Role } from '../../shared/messages/kind.ts';
import { validate } from '../../shared/validate.ts';
import { isRole, ROLES } from './roles.ts';

/** Hosts, by id or name, that one grant may list. */
const MAX_HOSTS = 100;
const HOST = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;

/** Limits a principal to these hosts and to hosts with one of these tags. */
export interface Scope {
  readonly hosts: readonly string[];
  readonly tags: readonly string[];
}

export interface Grant extends Scope {
  /** What people call it: 1 to 64 characters. */
  readonly name: string;
  readonly role: Role;
}

/** @throws FairleadError VALIDATION that names the field */
export function checkGrant({ name, role, hosts, tags }: Grant): void {
  if (name.trim() === '' || name.length > MAX_NAME_CHARS || /\p{Cc}/u.test(name)) {
    throw new FairleadError('VALIDATION', `name is not valid: it has 1 to ${MAX_NAME_CHARS} printable characters`);
  }
  if (!isRole(role)) throw new FairleadError('VALIDATION', `role is not valid: it is one of ${ROLES.join(', ')}`);
  if (hosts.length > MAX_HOSTS || !hosts.every((host) => host.length <= MAX_NAME_CHARS && HOST.test(host))) {
    throw new FairleadError('VALIDATION', `hosts is not valid: it lists up to ${MAX_HOSTS} ids or names of hosts`);
  }
  if (tags.length > MAX_TAGS) throw new FairleadError('VALIDATION', `tags is not valid: at most ${MAX_TAGS}`);
  validate(Tags, [...tags], 'tags');
}

/** The scope of a principal; none if nothing is listed: then the grant holds everywhere. */
export function scopeOf({ hosts, tags }: Scope): { readonly scope?: Scope } {
  return hosts.length === 0 && tags.length === 0 ? {} : { scope: { hosts, tags } };
}
