/** Execs that an agent which was killed has left: known by the next one, ended once Docker tells, and forgotten then. */
import assert from 'node:assert/strict';
import { readdir, writeFile } from 'node:fs/promises';
import type { RequestListener } from 'node:http';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { LeftExecs } from '../../../../agent/docker/left-execs.ts';
import { tempDir } from '../../../support/tmp.ts';
import { waitFor } from '../../../support/wait.ts';
import { engineAt, fakeDocker, SILENT } from './fake-docker.ts';

const [ONE, TWO, THREE] = ['1', '2', '3'].map((digit) => digit.repeat(64)) as [string, string, string];

async function engine(t: TestContext, answer: RequestListener) {
  return await engineAt(t, (await fakeDocker(t, answer)).socket);
}

test('what runs has a file, and nothing else has', async (t) => {
  const directory = join(await tempDir(t), 'execs');
  const execs = await LeftExecs.load(directory, SILENT);
  for (const id of [ONE, TWO, '../escape', 'x'.repeat(64)]) execs.begun(id);
  execs.over(TWO);
  execs.over(THREE);
  await waitFor('the files', async () => (await readdir(directory)).join() === ONE);
});

test('what an earlier agent left is looked at once Docker tells, and forgotten when there is nothing to end', async (t) => {
  const directory = await tempDir(t);
  for (const id of [ONE, TWO]) await writeFile(join(directory, id), '');
  let status = 500;
  const asked: string[] = [];
  const docker = await engine(t, ({ url = '' }, response) => {
    asked.push(url);
    if (status !== 200) return response.writeHead(status).end('{"message":"no"}');
    return response.end('{"Running":false,"ExitCode":0,"Pid":0}');
  });
  const execs = await LeftExecs.load(directory, SILENT);
  execs.begun(THREE);
  await execs.end(docker);
  assert.equal((await readdir(directory)).length, 3, 'dropped although Docker did not tell');
  status = 404;
  await execs.end(docker);
  assert.deepEqual(await readdir(directory), [THREE]);
  assert.ok(!asked.some((url) => url.includes(THREE)), 'it is this agent’s own');
});

test('a directory that cannot be used stops nobody', async (t) => {
  const file = join(await tempDir(t), 'execs');
  await writeFile(file, '');
  const warnings: unknown[] = [];
  const execs = await LeftExecs.load(file, {
    info: () => undefined,
    warn: (facts: unknown) => void warnings.push(facts),
  });
  execs.begun(ONE);
  execs.over(ONE);
  await execs.end(await engine(t, (_request, response) => response.end()));
  await waitFor('the warnings', () => warnings.length >= 2);
});
