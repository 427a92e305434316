/** A machine that the installer of the agent works on: a temporary folder, without root, a server or processes. */
import { spawnSync } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { TestContext } from 'node:test';
import { wholeScript } from '../../../server/install-script.ts';
import { tempDir } from '../../support/tmp.ts';

/** What needs root, a server or processes. */
const STUBS = `
chgrp() { :; }
chown() { :; }
has_user() { :; }
make_user() { :; }
join_docker() { :; }
own() { :; }
as_user() { sh -c "$1"; }
check_docker() { :; }
check_server() { :; }
require_space() { :; }
is_running() { :; }
stop_plain() { say stopped; }
start_plain() { say started; }
init=none
arch=x64
choose_executable
`;
/** Without that one the script's own runs, by the `su` that is found first. */
export const OWN_AS_USER = STUBS.replace(/^as_user.*\n/m, '');

/** A machine's folder, in which steps of the script run. */
export async function machine(t: TestContext) {
  const dir = await tempDir(t, 'install-sh');
  for (const folder of ['usr/local/bin', 'var/lib/fairlead-agent', 'run', 'empty'])
    await mkdir(join(dir, folder), { recursive: true });
  const whole = await wholeScript('install.sh');
  const functions = whole
    .slice(0, whole.indexOf('\ntrap clean_up EXIT\n'))
    .replace(/^(readonly [A-Z_]+="?)(?=\/)/gm, `$1${dir}`);
  /** What the script has made in the folder. */
  const at = (path: string) => join(dir, path);
  return {
    at,
    /** Runs `steps` in a shell that has the script's functions. */
    run(steps: string, stubs = STUBS) {
      const input = `${functions}\n${stubs}\n${steps}\n`;
      const { status, signal, stdout, stderr } = spawnSync('sh', ['-s'], { input, cwd: dir, encoding: 'utf8' });
      return { status, signal, stdout, stderr };
    },
    async put(path: string, text: string) {
      await mkdir(dirname(at(path)), { recursive: true });
      await writeFile(at(path), text, { mode: 0o755 });
    },
  };
}
