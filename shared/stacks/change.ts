/** The kinds that change a stack, and what of any of them may be asked for. */
import { FairleadError } from '../errors.ts';
import type { Params } from '../messages/kind.ts';
import * as kinds from '../messages/stack.ts';

export const STACK_CHANGE_KINDS = [
  kinds.stackDeploy,
  kinds.stackRemove,
  kinds.stackStart,
  kinds.stackStop,
  kinds.stackRestart,
  kinds.stackPull,
  kinds.stackScale,
] as const;

export type StackChangeKind = (typeof STACK_CHANGE_KINDS)[number];

/** What is asked for, of any of the kinds: which of it there is, is the affair of the kind. */
export type StackParams = Pick<Params<StackChangeKind>, 'stack' | 'changeId' | 'timeoutSeconds'> &
  Partial<Omit<Params<typeof kinds.stackDeploy>, 'stack'>> &
  Partial<Pick<Params<typeof kinds.stackRemove>, 'volumes'>> &
  Partial<Pick<Params<typeof kinds.stackScale>, 'services'>>;

/** @param there the services of the file @throws FairleadError VALIDATION if others are to be scaled */
export function requireServices(
  { services = {}, state = {} }: Partial<Pick<StackParams, 'services' | 'state'>>,
  there: readonly string[],
): void {
  const missing = Object.keys({ ...services, ...state }).filter((name) => !there.includes(name));
  if (missing.length === 0) return;
  throw new FairleadError('VALIDATION', `the stack has no service ${missing.join(', ')}; it has ${there.join(', ')}`);
}
