import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, test } from 'node:test';
import { Command } from 'commander';
import {
  addCommonFlags,
  addEnrollFlags,
  addRunFlags,
  enrollConfig,
  type RawFlags,
  runConfig,
  UsageError,
} from '../../../agent/config.ts';
import type { EnrollOptions } from '../../../agent/identity/enroll.ts';
import { isFairleadError } from '../../../shared/errors.ts';
import { tempDir } from '../../support/tmp.ts';

const PIN = `sha256:${'ab'.repeat(32)}`;
let saved: NodeJS.ProcessEnv;

beforeEach(() => {
  saved = { ...process.env };
  for (const name of Object.keys(process.env)) if (name.startsWith('FAIRLEAD_')) delete process.env[name];
});
afterEach(() => {
  process.env = saved;
});

function parse(args: string[]): Command {
  const command = new Command('test').exitOverride().configureOutput({ writeErr: () => undefined });
  addCommonFlags(command);
  addEnrollFlags(command);
  addRunFlags(command);
  return command.parse(args, { from: 'user' });
}

async function enrollment(args: string[], stdin = ''): Promise<EnrollOptions> {
  const command = parse(args);
  const flags: RawFlags = command.opts();
  const isGiven = (name: string) => command.getOptionValueSource(name) === 'cli';
  return await enrollConfig(flags, isGiven, () => Promise.resolve(stdin));
}

test('run has defaults, takes flags, and the environment where there is no flag', () => {
  assert.deepEqual(runConfig(parse([]).opts()), {
    stateDir: '/etc/fairlead-agent',
    docker: '/var/run/docker.sock',
    allow: [],
    deny: [],
  });
  process.env['FAIRLEAD_STATE_DIR'] = '/from/env';
  process.env['FAIRLEAD_DOCKER'] = 'tcp://env:1';
  process.env['FAIRLEAD_DENY'] = 'exec, container.stop';
  const config = runConfig(parse(['--docker', 'tcp://flag:1', '--allow', 'read', '--allow', 'host.*']).opts());
  assert.deepEqual(config, {
    stateDir: '/from/env',
    docker: 'tcp://flag:1',
    allow: ['read', 'host.*'],
    deny: ['exec', 'container.stop'],
  });
});

test('enroll takes everything from flags', async () => {
  const args = ['--server', 'host:8440', '--token', 't', '--name', 'n', '--tag', 'a', '--tag', 'b=c'];
  assert.deepEqual(await enrollment([...args, '--state-dir', '/s', '--ca-fingerprint', PIN]), {
    server: 'https://host:8440/',
    token: 't',
    stateDir: '/s',
    name: 'n',
    tags: ['a', 'b=c'],
    caFingerprint: PIN,
  });
});

test('the token comes from a flag, a file, stdin or the environment', async (t) => {
  const file = join(await tempDir(t, 'config'), 'token');
  await writeFile(file, ' from-file\n');
  const server = ['--server', 'https://host'];
  assert.equal((await enrollment([...server, '--token-file', file])).token, 'from-file');
  assert.equal((await enrollment([...server, '--token', '-'], 'from-stdin\n')).token, 'from-stdin');
  process.env['FAIRLEAD_TOKEN'] = 'from-env';
  assert.equal((await enrollment(server)).token, 'from-env');
  assert.equal((await enrollment([...server, '--token-file', file])).token, 'from-file', 'a flag wins');
  await assert.rejects(enrollment([...server, '--token', 'a', '--token-file', file]), UsageError);
  const missing = enrollment([...server, '--token-file', `${file}-not`]);
  await assert.rejects(missing, (error) => isFairleadError(error) && /--token-file .*ENOENT/.test(error.message));
});

test('run refuses an address that is none and a kind that cannot be one', () => {
  assert.throws(() => runConfig(parse(['--docker', 'ssh://host']).opts()), UsageError);
  assert.throws(() => runConfig(parse(['--deny', 'Container exec']).opts()), UsageError);
});

test('wrong flags are named, and no secret is repeated', async () => {
  const cases: [string[], RegExp][] = [
    [['--token', 't'], /--server is missing/],
    [['--server', 'http://host', '--token', 't'], /--server: .*https/],
    [['--server', 'https://user:secret@host', '--token', 't'], /--server: .*password/],
    [['--server', 'https://host'], /--token or --token-file is missing/],
    [['--server', 'https://host', '--token', '-'], /stdin holds no token/],
    [['--server', 'https://host', '--token', 't', '--ca-fingerprint', 'abc'], /--ca-fingerprint: /],
    [['--server', 'https://host', '--token', 't', '--tag', 'a b'], /--tag/],
  ];
  for (const [args, text] of cases) {
    await assert.rejects(enrollment(args), (error) => {
      assert.ok(error instanceof UsageError, String(error));
      assert.match(error.message, text);
      assert.doesNotMatch(error.message, /secret/);
      return true;
    });
  }
});
