/** The service of stacks over revisions made up for the tests of the routes; its hosts are those of the tests. */
import { pino } from 'pino';
import type { Revisions } from '../../../../server/stacks/revisions.ts';
import { Stacks } from '../../../../server/stacks/stacks.ts';
import type { RevisionRow } from '../../../../server/store/stack-revisions.ts';
import { systemClock } from '../../../../shared/clock.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import { HOST, NOW } from './fake-host.ts';

export const REVISION: RevisionRow = {
  ...{ hostId: HOST.id, stack: 'web', number: 3, id: 'r3', action: 'deploy', source: undefined, state: 'deployed' },
  ...{ envNames: ['TOKEN'], size: 9, createdBy: 'ann', createdAt: NOW, finishedAt: NOW + 5 },
  ...{ code: undefined, detail: undefined },
};
const COMPOSE = 'services: {web: {image: nginx}}\n';

/** @param called is told of what is written */
export function fakeStacks(called: (name: string, ...args: unknown[]) => Promise<void>): Stacks {
  const find = (number: number) => {
    if (number !== REVISION.number) throw new FairleadError('NOT_FOUND', `there is no revision ${number}`);
    return { ...REVISION, compose: COMPOSE };
  };
  const revisions: Partial<Record<keyof Revisions, unknown>> = {
    list: async () => ({ items: [REVISION] }),
    find: async (_key: unknown, number: number) => find(number),
    content: async (_key: unknown, number: number) => ({ compose: find(number).compose, env: { TOKEN: 'hunter2' } }),
    diff: async (_key: unknown, from: number, to: number) => `--- revision ${from}\n+++ revision ${find(to).number}\n`,
    current: async () => REVISION,
    latest: async () => [REVISION],
    begin: async (_key: unknown, content: object, about: object) => {
      await called('revisions.begin', content, about);
      return { ...REVISION, ...about, number: 4, id: 'r4', state: 'deploying', finishedAt: undefined };
    },
    finish: async (revision: RevisionRow, error?: unknown) => {
      const code = error instanceof FairleadError ? error.code : undefined;
      await called('revisions.finish', revision.number, code);
      return { ...revision, state: error === undefined ? 'deployed' : 'failed', code, finishedAt: NOW };
    },
    withdraw: (revision: RevisionRow) => called('revisions.withdraw', revision.number),
    remove: () => called('revisions.remove'),
    settle: async () => undefined,
  };
  return new Stacks({
    revisions: revisions as unknown as Revisions,
    clock: systemClock,
    log: pino({ level: 'silent' }),
  });
}
