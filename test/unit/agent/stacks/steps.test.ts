/** With which arguments Compose is run: a stack that is restored is made service by service, and only what ran is started. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { stepsOf } from '../../../../agent/stacks/steps.ts';
import { stackDeploy, stackScale } from '../../../../shared/messages/stack.ts';

const COMPOSE = { program: '/usr/bin/docker', args: ['compose'], version: '2.26.1', isFirst: false };
const FIRST = { program: '/usr/bin/docker-compose', args: [], version: '1.29.2', isFirst: true };
const PARAMS = { stack: 'web', changeId: 'c1', compose: 'services: {}' };
const STATE = {
  app: { containers: 3, runs: true },
  job: { containers: 1, runs: false },
  db: { containers: 1, runs: true },
  idle: { containers: 2, runs: false },
};
const lines = (...given: Parameters<typeof stepsOf>) => stepsOf(...given).map(({ args }) => args.join(' '));
const ONLY = '--no-build --no-deps --no-recreate';

test('a deployment starts all, in the way that the file has it', () => {
  assert.deepEqual(lines(stackDeploy, { ...PARAMS, pull: true, prune: true }, COMPOSE), [
    ...['pull', 'up -d --no-build --remove-orphans'],
  ]);
  assert.deepEqual(lines(stackScale, { ...PARAMS, services: { app: 2 } }, FIRST), [`up -d ${ONLY} --scale app=2 app`]);
});

test('what stood still is only made, what ran is started, and nothing else is touched', () => {
  const running = `up -d ${ONLY} --scale app=3 --scale db=1 app db`;
  assert.deepEqual(lines(stackDeploy, { ...PARAMS, state: STATE }, COMPOSE), [
    ...[`up --no-start ${ONLY} --scale job=1 --scale idle=2 job idle`, running],
  ]);
  assert.deepEqual(lines(stackDeploy, { ...PARAMS, state: STATE }, FIRST), [
    ...[`up --no-start ${ONLY} --scale job=1 job`, `up --no-start ${ONLY} --scale idle=2 idle`, running],
  ]);
  assert.deepEqual(lines(stackDeploy, { ...PARAMS, state: {} }, FIRST), []);
});
