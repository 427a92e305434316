import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { EnrollFlags, enrollConfig, RunFlags, runConfig, UsageError } from '../../../agent/config.ts';
import type { EnrollOptions } from '../../../agent/identity/enroll.ts';
import { isFairleadError } from '../../../shared/errors.ts';
import { flagsOf, readFlags } from '../../../shared/flags.ts';
import { tempDir } from '../../support/tmp.ts';

const PIN = `sha256:${'ab'.repeat(32)}`;
type Given = Record<string, unknown>;
type Env = Record<string, string>;

const run = (given: Given, env: Env = {}) => runConfig(readFlags(RunFlags, given, env));

async function enrollment(given: Given, env: Env = {}, stdin = ''): Promise<EnrollOptions> {
  return await enrollConfig(readFlags(EnrollFlags, given, env), given, () => Promise.resolve(stdin));
}

test('enroll and run have the flags that are promised', () => {
  const names = (schema: Parameters<typeof flagsOf>[0]) => flagsOf(schema).map(({ name }) => name);
  const own = ['--server', '--token', '--token-file', '--name', '--tag', '--ca-fingerprint', '--ca-file'];
  assert.deepEqual(names(EnrollFlags), [...own, '--state-dir', '--log-level']);
  const hawser = ['standard', 'tls-cert', 'tls-key', 'edge', 'ca-file', 'token-file', 'insecure-plaintext'];
  assert.deepEqual(names(RunFlags), [
    ...['--docker', '--allow', '--deny', '--renew-before', '--release-key'],
    ...hawser.map((name) => `--hawser-${name}`),
    ...['--state-dir', '--log-level'],
  ]);
});

test('run has defaults, takes flags, and the environment where there is no flag', () => {
  assert.deepEqual(run({}), {
    stateDir: '/etc/fairlead-agent',
    docker: '/var/run/docker.sock',
    allow: [],
    deny: [],
    renewBeforeMs: 7 * 86_400_000,
  });
  const env = {
    FAIRLEAD_STATE_DIR: '/from/env',
    FAIRLEAD_DOCKER: 'tcp://env:1',
    FAIRLEAD_DENY: 'exec, container.stop',
  };
  assert.deepEqual(run({ docker: 'tcp://flag:1', allow: ['read', 'host.*'] }, env), {
    stateDir: '/from/env',
    docker: 'tcp://flag:1',
    allow: ['read', 'host.*'],
    deny: ['exec', 'container.stop'],
    renewBeforeMs: 7 * 86_400_000,
  });
});

test('enroll takes everything from flags', async () => {
  const given = { server: 'host:8440', token: 't', name: 'n', tag: ['a', 'b=c'], stateDir: '/s', caFingerprint: PIN };
  assert.deepEqual(await enrollment(given), {
    server: 'https://host:8440/',
    token: 't',
    stateDir: '/s',
    name: 'n',
    tags: ['a', 'b=c'],
    caFingerprint: PIN,
  });
});

test('the token comes from a flag, a file, stdin or the environment', async (t) => {
  const tokenFile = join(await tempDir(t, 'config'), 'token');
  await writeFile(tokenFile, ' from-file\n');
  const server = 'https://host';
  const env = { FAIRLEAD_TOKEN: 'from-env' };
  assert.equal((await enrollment({ server, tokenFile })).token, 'from-file');
  assert.equal((await enrollment({ server, token: '-' }, {}, 'from-stdin\n')).token, 'from-stdin');
  assert.equal((await enrollment({ server }, env)).token, 'from-env');
  assert.equal((await enrollment({ server, tokenFile }, env)).token, 'from-file', 'a flag wins');
  assert.equal((await enrollment({ server, token: 'a' }, { FAIRLEAD_TOKEN_FILE: tokenFile })).token, 'a');
  await assert.rejects(enrollment({ server, token: 'a', tokenFile }), UsageError);
  const missing = enrollment({ server, tokenFile: `${tokenFile}-not` });
  await assert.rejects(missing, (error) => isFairleadError(error) && /--token-file .*ENOENT/.test(error.message));
});

test('run refuses an address that is none and a kind that cannot be one', () => {
  assert.throws(() => run({ docker: 'ssh://host' }), UsageError);
  assert.throws(() => run({ deny: ['Container exec'] }), UsageError);
});

test('wrong flags are named, and no secret is repeated', async () => {
  const server = 'https://host';
  const cases: [Given, RegExp][] = [
    [{ token: 't' }, /--server is missing/],
    [{ server: 'http://host', token: 't' }, /--server: .*https/],
    [{ server: 'https://user:secret@host', token: 't' }, /--server: .*password/],
    [{ server }, /--token or --token-file is missing/],
    [{ server, token: '-' }, /stdin holds no token/],
    [{ server, token: 't', caFingerprint: 'abc' }, /--ca-fingerprint: /],
    [{ server, token: 't', tag: ['a b'] }, /--tag/],
  ];
  for (const [given, text] of cases) {
    await assert.rejects(enrollment(given), (error) => {
      assert.ok(error instanceof UsageError, String(error));
      assert.match(error.message, text);
      assert.doesNotMatch(error.message, /secret/);
      return true;
    });
  }
});
