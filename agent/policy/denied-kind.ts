/** What somebody is told whose kind of work the host's policy does not allow. */
import { FairleadError } from '../../shared/errors.ts';
import type { HostPolicy } from '../../shared/messages/control.ts';
import { deniedAct, type PolicySubject, permits } from './policy.ts';

/** The error for a kind that the policy does not permit. */
export function deniedKind(policy: HostPolicy, kind: PolicySubject): FairleadError {
  const act = deniedAct(policy, kind);
  const off = kind.policy === 'connect' ? ', which is off unless the owner of the host allows it by name' : '';
  const how = act === undefined ? off : `: it denies ${act}, which that does as well`;
  return new FairleadError('DENIED_BY_HOST', `this host's policy does not allow ${kind.name}${how}`);
}

/** @throws FairleadError DENIED_BY_HOST for work that did not come by a stream of the mesh, and is that of a kind all the same */
export function requireKind(policy: HostPolicy, kind: PolicySubject): void {
  if (!permits(policy, kind)) throw deniedKind(policy, kind);
}
