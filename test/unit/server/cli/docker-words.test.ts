/** What commands make of the docker CLI's words: bodies of containers, filters, names of images; and the question before a prune. */
import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import fc from 'fast-check';
import { confirm } from '../../../../server/cli/confirm.ts';
import { containerBody } from '../../../../server/cli/container-body.ts';
import { namedImages, splitName } from '../../../../server/cli/docker-objects.ts';
import { filter, pairs } from '../../../../server/cli/docker-words.ts';
import { CliError } from '../../../../server/cli/errors.ts';
import { tempDir } from '../../../support/tmp.ts';
import { fakeIo } from './fixtures.ts';

test('options of a new container become Docker’s body', async (t) => {
  const dir = await tempDir(t);
  const envFile = join(dir, 'env');
  await writeFile(envFile, '# of the app\nB=2\n\nHOME_OF\n');
  const io = fakeIo({ TAKEN: 'here', HOME_OF: 'x' });
  const body = await containerBody(
    'app:1',
    ['serve', '--all'],
    {
      ...{ env: ['A=1=2', 'TAKEN', 'LACKING'], envFile: [envFile], label: { a: 'b' } },
      ...{ publish: ['8080:80', '127.0.0.1::53/udp', '[::1]:8081:80', '443'], volume: ['data:/d', '/etc:/e:ro'] },
      ...{ restart: 'on-failure:3', network: 'lan', entrypoint: '/run', user: '1000', tty: true, privileged: true },
    },
    io,
  );
  assert.deepEqual(body, {
    ...{
      Image: 'app:1',
      Cmd: ['serve', '--all'],
      Env: ['B=2', 'HOME_OF=x', 'A=1=2', 'TAKEN=here'],
      Labels: { a: 'b' },
    },
    ...{ User: '1000', Entrypoint: ['/run'], Tty: true },
    ExposedPorts: { '80/tcp': {}, '53/udp': {}, '443/tcp': {} },
    HostConfig: {
      Binds: ['data:/d', '/etc:/e:ro'],
      PortBindings: {
        '80/tcp': [{ HostPort: '8080' }, { HostIp: '::1', HostPort: '8081' }],
        '53/udp': [{ HostIp: '127.0.0.1', HostPort: '' }],
        '443/tcp': [{ HostPort: '' }],
      },
      RestartPolicy: { Name: 'on-failure', MaximumRetryCount: 3 },
      ...{ NetworkMode: 'lan', Privileged: true },
    },
  });
});

test('a file has the rest of the body, and options count before it', async (t) => {
  const config = join(await tempDir(t), 'web.json');
  const Healthcheck = { Test: ['NONE'] };
  const written = {
    Image: 'old',
    Env: ['A=1'],
    Healthcheck,
    HostConfig: { Memory: 7, Binds: ['a:/a'], NetworkMode: 'x' },
  };
  await writeFile(config, JSON.stringify(written));
  const body = await containerBody('new', [], { config, env: ['B=2'], volume: ['b:/b'], network: 'y' }, fakeIo({}));
  assert.deepEqual(body, {
    ...{ Image: 'new', Env: ['A=1', 'B=2'], Healthcheck },
    HostConfig: { Memory: 7, Binds: ['a:/a', 'b:/b'], NetworkMode: 'y' },
  });
  await writeFile(config, '[]');
  await assert.rejects(containerBody('new', [], { config }, fakeIo({})), /holds no JSON object/);
  await assert.rejects(containerBody('new', [], { config: `${config}.none` }, fakeIo({})), CliError);
  for (const wrong of [
    { restart: 'sometimes' },
    { publish: ['a:b:c'] },
    { publish: ['80/x'] },
    { envFile: ['/none'] },
  ]) {
    await assert.rejects(containerBody('new', [], wrong, fakeIo({})), CliError, JSON.stringify(wrong));
  }
});

test('names of images come apart at the colon of their tag', () => {
  assert.deepEqual(splitName('localhost:5000/a/b:1'), { repository: 'localhost:5000/a/b', tag: '1' });
  assert.deepEqual(splitName('localhost:5000/a/b'), { repository: 'localhost:5000/a/b', tag: '' });
  fc.assert(
    fc.property(
      fc.stringMatching(/^[a-z0-9.]{1,9}(:\d{1,5})?\/[a-z0-9/]{1,20}$/),
      fc.stringMatching(/^\w{1,9}$/),
      (repo, tag) => {
        assert.deepEqual(splitName(`${repo}:${tag}`), { repository: repo, tag });
      },
    ),
  );
  const rows = namedImages([
    { Id: 'a', RepoTags: ['x:1', 'y:2'] },
    { Id: 'b', RepoTags: ['<none>:<none>'], RepoDigests: ['z@sha256:1'] },
    { Id: 'c', RepoTags: null },
  ]);
  assert.deepEqual(
    rows.map(({ Id, repository, tag }) => [Id, repository, tag]),
    [
      ['a', 'x', '1'],
      ['a', 'y', '2'],
      ['b', 'z', '<none>'],
      ['c', '<none>', '<none>'],
    ],
  );
});

test('filters and labels are KEY=VALUE, the value as it is', () => {
  assert.deepEqual(filter('label=b=c', filter('label=a')), { label: ['a', 'b=c'] });
  assert.deepEqual(pairs('a=', pairs('b=1=2')), { a: '', b: '1=2' });
  assert.deepEqual(pairs('flag'), { flag: '' });
  for (const wrong of ['', '=x']) {
    assert.throws(() => filter(wrong), /NAME=VALUE/);
    assert.throws(() => pairs(wrong), /KEY=VALUE/);
  }
});

test('a prune asks at a terminal, and takes nothing but a yes', async () => {
  const asking = async (typed: string | undefined, isTTY = true) => {
    const stdin = Object.assign(new PassThrough(), { isTTY });
    stdin.end(typed);
    const io = { ...fakeIo({}), stdin };
    const outcome = await confirm(io, 'This removes all.', false, '--force').then(
      () => 'goes on',
      (error: CliError) => `${error.exitCode}: ${error.message}`,
    );
    return { outcome, err: io.err() };
  };
  for (const yes of ['y\n', 'Yes\n', ' y \r\n']) assert.equal((await asking(yes)).outcome, 'goes on', yes);
  for (const no of ['\n', 'n\n', 'yep\n', undefined]) {
    const { outcome, err } = await asking(no);
    assert.deepEqual([outcome, err], ['1: nothing was done', 'This removes all. Go on? [y/N] '], no ?? 'the end');
  }
  assert.match((await asking('y\n', false)).outcome, /^2: This removes all\. .*--force/);
  await confirm(fakeIo({}), 'This removes all.', true, '--force');
});
