/** What Compose is run for, and with which arguments, for each change of a stack. */
import { FairleadError } from '../../shared/errors.ts';
import type { StackState } from '../../shared/messages/stack.ts';
import type { StackParams as AskedParams, StackChangeKind } from '../../shared/stacks/change.ts';
import type { ComposeProgram } from './compose-program.ts';
import type { RegistryLogin } from './registry-logins.ts';

/** What is asked for, and what an agent that serves others as well may be told beside it. */
export type StackParams = AskedParams & {
  /** Services that alone are meant; absent or none: all. */
  readonly only?: readonly string[];
  /** Leaves alone what those depend on. */
  readonly noDeps?: boolean;
  /** Makes containers anew also where nothing has changed. */
  readonly recreate?: boolean;
  /** By which images are pulled, beside those of the host's owner. */
  readonly logins?: readonly RegistryLogin[];
};

/** What Compose is asked that changes nothing. */
export type StackLook = { readonly what: 'ps' } | { readonly what: 'logs'; readonly tail: number | 'all' };

/** No images are built: there is nothing beside the file. */
const AS_IT_IS = ['--no-build'];

/** One run of Compose. */
export interface Step {
  /** As progress calls it. */
  readonly name: string;
  /** Behind those that name the stack. */
  readonly args: readonly string[];
  /** Whether it needs the file; without it Compose 2 goes by the labels of what there is. */
  readonly hasFile: boolean;
  /** Whether it changes the stack: it is better ended than broken off. */
  readonly isChange: boolean;
}

/** The step that says whether the file can be used, and what it comes to. */
export function checkStep({ isFirst }: ComposeProgram): Step {
  const args = isFirst ? ['config'] : ['config', '--format', 'json'];
  return { name: 'check', args, hasFile: true, isChange: false };
}

/** @throws FairleadError UNSUPPORTED for what Compose 1 cannot do without the file */
export function stepsOf(kind: StackChangeKind, params: StackParams, compose: ComposeProgram): Step[] {
  const { pull, prune, volumes, services = {}, state, only = [], noDeps = false, recreate = false } = params;
  const change = (name: string, ...args: string[]): Step => ({ name, args, hasFile: true, isChange: true });
  const pulling: Step = { name: 'pull', args: ['pull', ...only], hasFile: true, isChange: false };
  const up = ['up', '-d', ...AS_IT_IS];
  switch (kind.name) {
    case 'stack.deploy': {
      const how = [...(prune ? ['--remove-orphans'] : []), ...(recreate ? ['--force-recreate'] : [])];
      const deploy = change('up', ...up, ...how, ...(noDeps ? ['--no-deps'] : []), ...only);
      return [...(pull ? [pulling] : []), ...(state === undefined ? [deploy] : restoring(state, compose))];
    }
    case 'stack.pull':
      return [pulling];
    case 'stack.scale': {
      return [scaling(services)];
    }
    case 'stack.remove':
      return [byName(change('down', 'down', '--remove-orphans', ...(volumes ? ['--volumes'] : [])), params, compose)];
    default: {
      const [, verb = ''] = kind.name.split('.');
      return [byName(change(verb, verb, ...only), params, compose)];
    }
  }
}

/** Lets services, and no others, have so many containers, which run or else are only made. */
function scaling(services: Readonly<Record<string, number>>, runs = true): Step {
  const how = [runs ? '-d' : '--no-start', ...AS_IT_IS, '--no-deps', '--no-recreate'];
  const scales = Object.entries(services).flatMap(([name, count]) => ['--scale', `${name}=${count}`]);
  return {
    ...{ name: runs ? 'up' : 'create', hasFile: true, isChange: true },
    args: ['up', ...how, ...scales, ...Object.keys(services)],
  };
}

/** What does not run comes first: what runs may need it to be there. */
function restoring(state: StackState, { isFirst }: ComposeProgram): Step[] {
  const of = (runs: boolean) =>
    Object.entries(state).flatMap(([name, one]) => (one.runs === runs ? [[name, one.containers] as const] : []));
  const [idle, running] = [of(false), of(true)];
  // Compose 1 waits for what a service depends on to run, even if it starts nothing: it must not see both at once.
  const made = isFirst ? idle.map((one) => [one]) : idle.length === 0 ? [] : [idle];
  const steps = made.map((services) => scaling(Object.fromEntries(services), false));
  return running.length === 0 ? steps : [...steps, scaling(Object.fromEntries(running))];
}

/** The step that looks. @throws as `stepsOf` */
export function lookStep(look: StackLook, params: StackParams, compose: ComposeProgram): Step {
  const { only = [] } = params;
  const args =
    look.what === 'logs'
      ? ['logs', '--tail', String(look.tail)]
      : // Compose 1 knows its table alone.
        ['ps', ...(compose.isFirst ? [] : ['--format', 'json'])];
  const step: Step = { name: look.what, args: [...args, ...only], hasFile: true, isChange: false };
  return byName(step, params, compose);
}

/** A step that goes by the name of the stack alone, where Compose can. */
function byName(step: Step, { stack, compose: file }: StackParams, { isFirst, version }: ComposeProgram): Step {
  if (!isFirst) return { ...step, hasFile: false };
  if (file !== undefined) return step;
  throw new FairleadError(
    'UNSUPPORTED',
    `this host's Compose ${version} needs the file of the stack ${stack}, which Fairlead does not have: it was deployed by ` +
      'others; install Docker Compose 2',
  );
}
