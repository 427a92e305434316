import assert from 'node:assert/strict';
import { resolve } from 'node:path';
import { describe, it } from 'node:test';
import { LaunchError, launchOptions, withHost } from '../../../install/launch/options.ts';

describe('what npm start takes', () => {
  it('has quiet defaults and passes everything on', () => {
    const options = launchOptions([], {});
    assert.equal(options.dataDir, resolve('data'));
    assert.equal(options.agentDir, resolve('data/agent'));
    assert.deepEqual(options.serverArgs, ['--log-level', 'warn']);
    assert.deepEqual([options.localApiHost, options.localAgentHost], ['127.0.0.1', '127.0.0.1']);
    assert.equal(options.isQuestion, false);
  });

  it('reads flags before the environment, in both forms, the last one first', () => {
    const env = { FAIRLEAD_DATA_DIR: '/env', FAIRLEAD_LOG_LEVEL: 'error', FAIRLEAD_AGENT_LISTEN: '[::1]:1' };
    const args = ['--data-dir', '/a', '--data-dir=/b', '--api-listen', '10.1.2.3:0', '--log-level=debug'];
    const options = launchOptions(args, env);
    assert.equal(options.dataDir, '/b');
    assert.equal(options.logLevel, 'debug');
    assert.deepEqual(options.serverArgs, args);
    assert.deepEqual([options.localApiHost, options.localAgentHost], ['10.1.2.3', '[::1]']);
    assert.equal(launchOptions([], env).dataDir, '/env');
    assert.deepEqual(launchOptions([], env).serverArgs, ['--log-level', 'error']);
  });

  it('knows questions', () => {
    for (const arg of ['--help', '-h', '--version', '-V']) assert.equal(launchOptions([arg], {}).isQuestion, true);
  });

  it('refuses what it could not enroll over', () => {
    for (const mode of ['off', 'files']) {
      assert.throws(
        () => launchOptions(['--api-tls', mode], {}),
        (error) => error instanceof LaunchError && error.exitCode === 2 && /npm run server/.test(error.message),
      );
    }
  });

  it('dials loopback where the server listens on all addresses', () => {
    const local = (listen: string) => launchOptions(['--api-listen', listen], {}).localApiHost;
    assert.deepEqual(['0.0.0.0:1', '[::]:1', ':::1', 'host:1', ':1'].map(local), [
      '127.0.0.1',
      '[::1]',
      '[::1]',
      'host',
      '127.0.0.1',
    ]);
    assert.equal(withHost('https://public.example:8440', '127.0.0.1'), 'https://127.0.0.1:8440');
    assert.equal(withHost('wss://public.example:8443/agent', '[::1]'), 'wss://[::1]:8443/agent');
  });
});
