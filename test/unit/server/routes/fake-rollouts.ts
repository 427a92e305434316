/** Rollouts, made up for the tests of the routes. */

import { DEFAULT_OPTIONS } from '../../../../server/rollouts/options.ts';
import { noFigures } from '../../../../server/rollouts/progress.ts';
import type { Rollout, RolloutsService } from '../../../../server/routes/deps/rollouts.ts';
import { HOST, NOW } from './fake-host.ts';

type Called = (name: string, ...args: unknown[]) => Promise<void>;

const ROLLOUT: Rollout = {
  ...{ id: 'r1', version: '0.2.0', sequence: 7, createdBy: 'ann', createdAt: NOW },
  plan: { select: { all: true }, options: DEFAULT_OPTIONS },
  progress: { state: 'running', stage: 0, stageAt: NOW, reason: undefined, forgiven: 0, endedAt: undefined },
  total: { ...noFigures(), hosts: 1, asked: 1 },
  stages: DEFAULT_OPTIONS.stages.map((hosts) => ({ hosts, figures: noFigures() })),
};

export function fakeRollouts(called: Called): RolloutsService {
  const command = (verb: string) => async (id: string) => {
    await called(`rollouts.${verb}`, id);
    return ROLLOUT;
  };
  return {
    create: async (...args) => {
      await called('rollouts.create', ...args);
      return ROLLOUT;
    },
    list: async () => ({ items: [ROLLOUT] }),
    get: async () => ROLLOUT,
    hosts: async (...args) => {
      await called('rollouts.hosts', ...args);
      const ended = { endedAt: undefined, code: undefined, detail: undefined };
      return { items: [{ hostId: HOST.id, place: 0, stage: 0, state: 'asked', askedAt: NOW, ...ended }] };
    },
    pause: command('pause'),
    resume: command('resume'),
    abort: command('abort'),
  };
}
