/** Calls of Docker's API that a client of the mesh makes by itself: what the host's policy says of each. */
import { apiCall, UNKNOWN_CALL } from '../../shared/docker/api-calls.ts';
import type { HostPolicy } from '../../shared/messages/control.ts';
import { permitsCall } from './docker-calls.ts';
import { denies, names, type PolicySubject, permits } from './policy.ts';

/**
 * Whether the policy permits a call that comes in a stream of `kind`: the kind, and the call as Docker's API writes it, and
 * what the call does under the name that it has in the catalogue; but for that last one it is enough that `kind` is allowed
 * by its own name. What a call does that nobody knows may be anything.
 */
export function permitsProxied(policy: HostPolicy, kind: PolicySubject, method: string, target: string): boolean {
  const call = apiCall(method, target);
  if (call === undefined || !permits(policy, kind) || !permitsCall(policy, method, target)) return false;
  const subjects = call.name === UNKNOWN_CALL ? [call, { ...call, policy: 'change' } as const] : [call];
  if (subjects.some((subject) => denies(policy, subject))) return false;
  return names(policy.allow, kind) || subjects.every((subject) => permits(policy, subject));
}
