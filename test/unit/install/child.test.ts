import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { Child, describeExit } from '../../../install/launch/child.ts';
import { tempDir } from '../../support/tmp.ts';
import { waitFor } from '../../support/wait.ts';

async function child(t: TestContext, source: string, input?: string): Promise<{ child: Child; dir: string }> {
  const dir = await tempDir(t);
  const script = join(dir, 'child.mjs');
  await writeFile(script, `import { writeFileSync } from 'node:fs';\n${source}`);
  const options = { name: 'it', script, args: [dir], env: process.env, ...(input === undefined ? {} : { input }) };
  const made = new Child(options);
  t.after(() => made.kill());
  return { child: made, dir };
}

const file = (dir: string) => async () => await readFile(join(dir, 'out'), 'utf8');

describe('a child', () => {
  it('gets its input and tells how it ended', async (t) => {
    const { child: it, dir } = await child(
      t,
      `import { text } from 'node:stream/consumers';
       writeFileSync(process.argv[2] + '/out', await text(process.stdin));
       process.exit(5);`,
      'secret',
    );
    assert.deepEqual(await it.exited, { code: 5, signal: null });
    assert.equal(await file(dir)(), 'secret');
    assert.equal(describeExit('it', { code: 5, signal: null }), 'it ended with exit code 5');
  });

  it('is asked to stop, then made to', async (t) => {
    const polite = await child(
      t,
      `process.on('SIGTERM', () => process.exit(0)); setInterval(() => {}, 1000);
       writeFileSync(process.argv[2] + '/out', 'ready');`,
    );
    await waitFor('the polite child', file(polite.dir));
    assert.deepEqual(await polite.child.stop(), { code: 0, signal: null });
    assert.deepEqual(await polite.child.stop(), { code: 0, signal: null });

    const stubborn = await child(
      t,
      `process.on('SIGTERM', () => {}); setInterval(() => {}, 1000);
       writeFileSync(process.argv[2] + '/out', 'ready');`,
    );
    await waitFor('the stubborn child', file(stubborn.dir));
    assert.deepEqual(await stubborn.child.stop(100), { code: null, signal: 'SIGKILL' });
  });

  it('learns that its launcher is gone, however that ended', async (t) => {
    const dir = await tempDir(t);
    await writeFile(
      join(dir, 'child.mjs'),
      `import { writeFileSync } from 'node:fs';
       process.on('disconnect', () => { writeFileSync('${dir}/out', 'gone'); process.exit(); });
       writeFileSync('${dir}/ready', 'ready');`,
    );
    const source = new URL('../../../install/launch/child.ts', import.meta.url).href;
    await writeFile(
      join(dir, 'launcher.mjs'),
      `const { Child } = await import('${source}');
       new Child({ name: 'it', script: '${dir}/child.mjs', args: [], env: process.env });`,
    );
    const launcher = spawn(process.execPath, [join(dir, 'launcher.mjs')], { stdio: 'ignore' });
    t.after(() => launcher.kill('SIGKILL'));
    await waitFor('the child', async () => await readFile(join(dir, 'ready'), 'utf8'));
    launcher.kill('SIGKILL');
    assert.equal(await waitFor('the end of the child', file(dir)), 'gone');
  });
});
