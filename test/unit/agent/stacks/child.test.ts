/** Programs that are run to their end, and that leave nothing behind when they are not let come to it. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { type ChildSpec, runChild } from '../../../../agent/stacks/child.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { tempDir } from '../../../support/tmp.ts';
import { waitFor } from '../../../support/wait.ts';

async function shell(t: TestContext, script: string, more: Partial<ChildSpec> = {}) {
  const clock = new FakeClock();
  const controller = new AbortController();
  const lines: string[] = [];
  const ended = runChild({
    ...{ program: '/bin/sh', args: ['-c', script], env: { PATH: '/usr/bin:/bin', ONLY: 'this' } },
    ...{ cwd: await tempDir(t, 'child'), signal: controller.signal, clock, onLine: (line) => lines.push(line) },
    ...more,
  });
  ended.catch(() => undefined);
  return { clock, lines, ended, abort: (error: FairleadError) => controller.abort(error) };
}

/** Whether a process is there; one that has ended and waits to be looked at is not. */
async function isThere(pid: number): Promise<boolean> {
  const { readFile } = await import('node:fs/promises');
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  return stat !== '' && !/^\d+ \(.*\) Z/.test(stat);
}

test('its lines, its input, its code, and no environment but what it was given', async (t) => {
  const script = 'cat; printf "one\\rtwo  \\n\\n"; echo err >&2; env | grep -c -v -E "^(PWD|SHLVL|_|OLDPWD)="; exit 3';
  const { ended, lines } = await shell(t, script, { input: 'in\n' });
  assert.deepEqual(await ended, { code: 3, output: '' });
  assert.deepEqual(lines.toSorted(), ['2', 'err', 'in', 'one', 'two']);
  const kept = await shell(t, 'echo kept; echo said >&2', { maxOutputChars: 100 });
  assert.deepEqual([(await kept.ended).output, kept.lines], ['kept\n', ['said']]);
  const long = await shell(t, 'head -c 100000 /dev/zero | tr "\\0" x');
  await long.ended;
  assert.deepEqual(long.lines, ['(a line of more than 64 KiB was left out)']);
  const fits = await shell(t, 'head -c 65536 /dev/zero | tr "\\0" x; echo; echo next');
  await fits.ended;
  assert.deepEqual(
    fits.lines.map(({ length }) => length),
    [65_536, 4],
  );
});

test('what prints more than is kept is ended', async (t) => {
  const { ended } = await shell(t, 'while :; do echo more; done', { maxOutputChars: 1000 });
  const { code, output } = await ended;
  assert.ok(code === null && output.length > 1000 && output.length < 1_000_000);
});

test('it ends with all that it has started, also what does not listen', async (t) => {
  const script = 'trap "" TERM; (trap "" TERM; echo $$; exec sleep 1000) & echo $!; wait; wait';
  const { ended, lines, abort, clock } = await shell(t, script);
  await waitFor('its processes', async () => lines.length >= 2 || undefined);
  abort(new FairleadError('CANCELLED', 'enough'));
  clock.advance(2_999);
  assert.deepEqual(await Promise.all(lines.map(Number).map(isThere)), [true, true]);
  clock.advance(1);
  await assert.rejects(ended, { code: 'CANCELLED' });
  await waitFor(
    'their end',
    async () => !(await Promise.all(lines.map(Number).map(isThere))).includes(true) || undefined,
  );
});

test('what it leaves running when it ends by itself goes as well', async (t) => {
  const { ended, lines } = await shell(t, 'sleep 1000 & echo $!');
  assert.equal((await ended).code, 0);
  await waitFor('its end', async () => !(await isThere(Number(lines[0]))) || undefined);
});

test('a program that is not there', async (t) => {
  await assert.rejects((await shell(t, '', { program: '/no/such/program' })).ended, { code: 'ENOENT' });
});

test('where no file descriptors are left it is an error, and the end of nothing else', async (t) => {
  const at = (path: string) => JSON.stringify(new URL(`../../../../${path}`, import.meta.url).href);
  const script = `
    import { openSync } from 'node:fs';
    import { runChild } from ${at('agent/stacks/child.ts')};
    import { systemClock as clock } from ${at('shared/clock.ts')};
    try { for (;;) openSync('/dev/null', 'r'); } catch {}
    const signal = new AbortController().signal;
    const spec = { program: '/bin/true', args: [], env: {}, cwd: '/', onLine: () => undefined, signal, clock };
    const { code } = await runChild(spec).catch((error) => error);
    setImmediate(() => process._rawDebug(code));
  `;
  const { ended, lines } = await shell(t, '', {
    args: ['-c', 'ulimit -n 128; exec "$0" --input-type=module -e "$1"', process.execPath, script],
  });
  assert.equal((await ended).code, 0);
  assert.deepEqual(lines, ['EMFILE']);
});
