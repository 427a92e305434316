import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { hostSettings, proxyNote } from '../../../../agent/doctor/host-settings.ts';
import { markOf, type RunNotes } from '../../../../agent/identity/state-lock.ts';
import { type Cleanup, tempDir } from '../../../support/tmp.ts';

const FILE =
  '# of the service\nFAIRLEAD_DOCKER=/run/other.sock\nHTTPS_PROXY="http://me:secret@proxy:3128"\nNO_PROXY=10.0.0.1\n';
const PROXY = { HTTPS_PROXY: 'http://me:secret@proxy:3128', NO_PROXY: '10.0.0.1' };

/** A state directory, in which an agent with these notes runs or none does, and the settings of its service. */
async function host(cleanup: Cleanup, notes?: RunNotes) {
  const stateDir = await tempDir(cleanup, 'settings');
  const file = join(stateDir, 'settings');
  await writeFile(file, FILE);
  if (notes !== undefined) {
    const run = { ...markOf(process.pid), state: 'online', since: new Date(0).toISOString(), ...notes };
    await writeFile(join(stateDir, 'run.json'), JSON.stringify(run));
  }
  return { stateDir, file, env: {} };
}

describe('hostSettings', () => {
  test('where no agent runs, the settings of the service count, and nothing where there are none', async (t) => {
    const source = await host(t);
    const { docker, proxyEnv } = hostSettings(source);
    assert.equal(docker, '/run/other.sock');
    assert.deepEqual({ HTTPS_PROXY: proxyEnv['HTTPS_PROXY'], NO_PROXY: proxyEnv['NO_PROXY'] }, PROXY);
    const { stateDir, env } = source;
    assert.deepEqual(hostSettings({ stateDir, env }), { proxyEnv: {} });
    assert.deepEqual(hostSettings({ stateDir, env, file: join(stateDir, 'none') }), { proxyEnv: {} });
  });

  test('the agent that runs knows better, and the password stands in the settings only', async (t) => {
    const proxy = { url: 'http://proxy:3128', noProxy: '10.0.0.1' };
    const source = await host(t, { dockerAddress: '/run/mine.sock', proxy });
    assert.deepEqual(hostSettings(source), { docker: '/run/mine.sock', proxyEnv: PROXY });
    const { stateDir, env } = source;
    assert.deepEqual(hostSettings({ stateDir, env }).proxyEnv, { HTTPS_PROXY: proxy.url, NO_PROXY: '10.0.0.1' });
    const direct = await host(t, { dockerAddress: '/run/mine.sock' });
    assert.deepEqual(hostSettings(direct).proxyEnv, {});
  });

  test('one of a version that does not say it leaves it to the settings', async (t) => {
    assert.equal(hostSettings(await host(t, {})).docker, '/run/other.sock');
  });

  test('settings that cannot be read are named as what they are', async (t) => {
    const { stateDir, env } = await host(t);
    const refusal = { code: 'VALIDATION', message: /^the settings of the service, .*, cannot be read \(EISDIR\)$/ };
    assert.throws(() => hostSettings({ stateDir, env, file: stateDir }), refusal);
  });

  test('what is given wins', async (t) => {
    const env = { https_proxy: 'http://given:1' };
    const source = { ...(await host(t, { dockerAddress: '/run/mine.sock' })), docker: 'tcp://given:2375', env };
    assert.deepEqual(hostSettings(source), { docker: 'tcp://given:2375', proxyEnv: env });
  });
});

test('a proxy is noted without user and password', () => {
  assert.deepEqual(proxyNote(PROXY), { url: 'http://proxy:3128', noProxy: '10.0.0.1' });
  assert.equal(proxyNote({}), undefined);
});
