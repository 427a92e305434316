/** The build of the minor release before this one, from the history of the repository: for tests that join the two. */
import { execFile } from 'node:child_process';
import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ROOT } from './launcher.ts';
import { type Cleanup, tempDir } from './tmp.ts';

/** The last commit of 0.1.0. To be moved on with each minor release. */
export const PREVIOUS = { version: '0.1.0', commit: '5a0cb68f98aa016074b64afd9e071a336769bacc' } as const;

const run = promisify(execFile);

/** Bundles the previous minor release by its own build, with the packages of this one. @returns its folder */
export async function previousBuild(cleanup: Cleanup): Promise<string> {
  const folder = await tempDir(cleanup, 'previous');
  const archive = join(folder, 'sources.tar');
  await run('git', ['-C', ROOT, 'archive', '--output', archive, PREVIOUS.commit]).catch((cause: unknown) => {
    throw new Error(
      `this test needs the history of the repository back to the commit ${PREVIOUS.commit}, of version ` +
        `${PREVIOUS.version}: clone all of it, or get the rest by \`git fetch --unshallow\``,
      { cause },
    );
  });
  await run('tar', ['-C', folder, '-xf', archive]);
  await symlink(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  await run(process.execPath, [join(folder, 'install/build/build.ts')]);
  return folder;
}
