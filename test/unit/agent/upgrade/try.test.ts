import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import https from 'node:https';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { pino } from 'pino';
import { tryAgent } from '../../../../agent/try-agent.ts';
import { TrialAnswer } from '../../../../agent/upgrade/trial.ts';
import { systemClock } from '../../../../shared/clock.ts';
import { validate } from '../../../../shared/validate.ts';
import { VERSION } from '../../../../shared/version.ts';
import { startUpgradePort } from '../../../support/upgrade-port.ts';
import { upgradeHost } from '../../../support/upgrades.ts';
import { waitFor } from '../../../support/wait.ts';

const deps = {
  clock: systemClock,
  log: pino({ level: 'silent' }),
  random: Math.random,
  httpsAgent: new https.Agent({ keepAlive: false, maxCachedSessions: 0 }),
};

async function host(t: TestContext) {
  const { stateDir } = await upgradeHost(t);
  const port = await startUpgradePort(t, stateDir, []);
  const config = { stateDir, docker: '/nowhere.sock', allow: [], deny: [], renewBeforeMs: 1_000 };
  return { stateDir, port, config };
}

async function contentOf(dir: string): Promise<string[]> {
  const names = (await readdir(dir)).sort();
  return await Promise.all(names.map(async (name) => `${name} ${await readFile(join(dir, name), 'utf8')}`));
}

test('a trial connects as one, says what it is and whether Docker answers, and leaves the state as it is', async (t) => {
  const { stateDir, port, config } = await host(t);
  const before = await contentOf(stateDir);
  const answer = await tryAgent(config, deps, new AbortController().signal);
  assert.deepEqual(validate(TrialAnswer, answer, 'the answer'), { try: 1, version: VERSION, docker: false });
  assert.deepEqual(await contentOf(stateDir), before);
  const [session, ...others] = port.sessions;
  assert.deepEqual([session?.hello.trial, session?.hello.capabilities, others.length], [true, [], 0]);
  assert.equal((await session?.session.closed)?.code, 'SHUTDOWN');
});

test('a trial that is not welcomed, or not acknowledged, is in vain', async (t) => {
  const { port, config } = await host(t);
  port.accepts = () => false;
  const stop = new AbortController();
  const trial = tryAgent(config, deps, stop.signal);
  await waitFor('a connection', () => port.refused > 0);
  stop.abort(new Error('that is enough'));
  await assert.rejects(trial);
  await assert.rejects(tryAgent({ ...config, deny: ['nonsense'] }, deps, new AbortController().signal), {
    code: 'VALIDATION',
  });
  await assert.rejects(tryAgent({ ...config, stateDir: '/nowhere' }, deps, new AbortController().signal), {
    code: 'NOT_FOUND',
  });
});
