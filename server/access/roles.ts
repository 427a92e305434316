/** What each role of an API token includes: viewers read, operators act on containers, admins do everything. */
import type { Role } from '../../shared/messages/kind.ts';

export const ROLES: readonly Role[] = ['viewer', 'operator', 'admin'];

/** Whether `role` may do what asks for `needed`. */
export function allows(role: Role, needed: Role): boolean {
  return ROLES.indexOf(role) >= ROLES.indexOf(needed);
}

export function isRole(text: string): text is Role {
  return (ROLES as readonly string[]).includes(text);
}
