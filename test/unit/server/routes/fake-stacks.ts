/** Stacks made up for the tests of the routes. */
import type { RunningStackChange, StackRevisionRecord, StacksService } from '../../../../server/routes/deps/stacks.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import { NOW } from './fake-host.ts';

export const REVISION: StackRevisionRecord = {
  ...{ stack: 'web', number: 3, action: 'deploy', state: 'deployed', envNames: ['TOKEN'] },
  ...{ createdBy: 'ann', createdAt: NOW, finishedAt: NOW + 5 },
};

/** A change that says one thing and then ends, or fails. */
export function aChange<T>(result: T, error?: FairleadError): RunningStackChange<T> {
  const done = error === undefined ? Promise.resolve(result) : Promise.reject(error);
  done.catch(() => undefined);
  return {
    done,
    async *progress() {
      yield { step: 'up', line: 'Container web-1  Started' };
      await done;
    },
    finish: () => done,
  };
}

/** @param called is told of each change */
export function fakeStacks(called: (name: string, ...args: unknown[]) => Promise<void>): StacksService {
  const find = (number: number) => {
    if (number !== REVISION.number) throw new FairleadError('NOT_FOUND', `there is no revision ${number}`);
    return { ...REVISION, compose: 'services: {}\n' };
  };
  const change =
    <T>(name: string, result: T) =>
    async (target: { stack: string }, ...args: unknown[]) => {
      const [what] = args;
      await called(name, target.stack, what);
      return aChange(result);
    };
  return {
    revisions: {
      list: async () => ({ items: [REVISION] }),
      find: async (_key, number) => find(number),
      diff: async (_key, from, to) => `--- revision ${from}\n+++ revision ${find(to).number}\n`,
      current: async () => REVISION,
      latest: async () => [REVISION],
    },
    deploy: change('stacks.deploy', REVISION),
    repeat: change('stacks.repeat', REVISION),
    act: change<void>('stacks.act', undefined),
    pull: change<void>('stacks.pull', undefined),
    scale: change<void>('stacks.scale', undefined),
    remove: change<void>('stacks.remove', undefined),
    onHost: async () => [{ stack: 'db', services: ['db'], containers: 1, running: 1 }],
    status: async () => ({ containers: [], change: undefined }),
  };
}
