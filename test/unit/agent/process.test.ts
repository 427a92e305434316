import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { ROOT, run } from '../../support/launcher.ts';
import { tempDir } from '../../support/tmp.ts';

describe('fairlead-agent', () => {
  test('answers --version and --help, and calls anything else it does not know bad usage', async (t) => {
    assert.match((await run(t, 'agent', ['--version'])).stdout, /^\d+\.\d+\.\d+\n$/);
    const help = await run(t, 'agent', ['run', '--help']);
    assert.equal(help.exit.code, 0);
    assert.match(help.stdout, /--docker[\s\S]*FAIRLEAD_DOCKER/);
    for (const args of [[], ['walk'], ['run', '--fast'], ['run', 'now'], ['enroll'], ['run', '--docker', 'ssh://x']]) {
      assert.equal((await run(t, 'agent', args)).exit.code, 2, args.join(' '));
    }
    assert.match((await run(t, 'agent', ['run', '--fast'])).stderr, /^fairlead-agent: unknown option '--fast'/);
  });

  test('run exits 4 on a host that is not enrolled and says so in a JSON line', async (t) => {
    const stateDir = join(await tempDir(t, 'process'), 'state');
    const ended = await run(t, 'agent', ['run'], { env: { FAIRLEAD_STATE_DIR: stateDir } });
    assert.equal(ended.exit.code, 4);
    assert.match(JSON.parse(ended.stderr).msg, /not enrolled/);
    assert.equal(ended.stdout, '');
  });

  test('status tells programs and people; unenroll has nothing to do', async (t) => {
    const stateDir = await tempDir(t, 'process');
    const status = await run(t, 'agent', ['status', '--json', '--state-dir', stateDir]);
    assert.equal(status.exit.code, 0);
    assert.deepEqual(JSON.parse(status.stdout), { enrolled: false, stateDir, run: null, connected: false });
    for (const args of [[], ['--local']]) {
      const ended = await run(t, 'agent', ['unenroll', ...args, '--state-dir', stateDir]);
      assert.equal(ended.exit.code, 1);
      assert.match(ended.stderr, /not enrolled/);
    }
  });

  test('a wrong token on stdin is told in one line, without the token, and leaves nothing behind', async (t) => {
    const dir = await tempDir(t, 'process');
    const args = ['enroll', '--server', 'https://127.0.0.1:1', '--token', '-', '--state-dir', join(dir, 'state')];
    const ended = await run(t, 'agent', args, { input: 'fle1.c2VjcmV0c2VjcmV0\n' });
    assert.equal(ended.exit.code, 1);
    assert.match(ended.stderr, /^fairlead-agent: [^\n]*token[^\n]*\n$/);
    assert.doesNotMatch(ended.stderr, /c2VjcmV0/);
    assert.deepEqual(await readdir(dir), []);
  });

  test('a damaged identity is a failure that names the file, not an endless try', async (t) => {
    const stateDir = await tempDir(t, 'process');
    await writeFile(join(stateDir, 'agent.json'), '{"hostId":');
    const ended = await run(t, 'agent', ['run', '--state-dir', stateDir]);
    assert.equal(ended.exit.code, 1);
    assert.match(ended.stderr, /agent\.json is not JSON/);
  });

  test('what is complained about drives no terminal', async (t) => {
    const stateDir = join(await tempDir(t, 'process'), 'a\u001b[2J\u009bb');
    const ended = await run(t, 'agent', ['unenroll', '--state-dir', stateDir]);
    assert.equal(ended.exit.code, 1);
    assert.match(ended.stderr, /^fairlead-agent: [^\p{Cc}]*a�\[2J�b[^\p{Cc}]*\n$/u);
  });

  test('an IPC channel to a launcher does not hold the process', async (t) => {
    const stateDir = join(await tempDir(t, 'process'), 'state');
    const child = spawn(process.execPath, [join(ROOT, 'agent/main.ts'), 'run', '--state-dir', stateDir], {
      stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    });
    t.after(() => child.kill('SIGKILL'));
    const [code] = await once(child, 'exit');
    assert.equal(code, 4);
  });
});
