import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readlinkSync } from 'node:fs';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const ENTRIES = ['server/main.ts', 'agent/main.ts', 'server/cli/main.ts', 'install/start.ts'];

function run(args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, args, { cwd: ROOT, encoding: 'utf8' });
}

/** Loads an entry point as a Node with other versions would. */
function runAs(versions: Record<string, string>, entry: string): ReturnType<typeof run> {
  const pretend = Object.entries(versions).map(([name, value]) => {
    return `Object.defineProperty(process.versions, '${name}', { value: '${value}' });`;
  });
  return run(['-e', `${pretend.join('')} require(require('node:fs').realpathSync('${ROOT}${entry}'))`]);
}

describe('entry points', () => {
  it('are relative links, so that a moved checkout still works', () => {
    for (const entry of ENTRIES) assert.match(readlinkSync(`${ROOT}${entry}`), /^(\.\.\/)*(install\/)?entry\/\w+\.ts$/);
  });

  for (const versions of [{ node: '20.20.2', napi: '9' }, { node: '22.23.0' }, { node: '24.6.0' }, { napi: '9' }]) {
    it(`say in one sentence what an old Node lacks: ${JSON.stringify(versions)}`, () => {
      for (const entry of ENTRIES) {
        const { status, stdout, stderr } = runAs(versions, entry);
        assert.deepEqual([status, stdout], [1, '']);
        assert.match(stderr, /^Fairlead needs Node\.js 24\.7 [^\n]*npm ci[^\n]*npm run server[^\n]*\n$/);
      }
    });
  }

  it('run their program on this Node', () => {
    const { status, stdout } = run(['server/cli/main.ts', '--version']);
    assert.equal(status, 0);
    assert.match(stdout, /^\d+\.\d+\.\d+\n$/);
  });
});
