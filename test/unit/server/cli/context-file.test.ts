import assert from 'node:assert/strict';
import { chmod, readdir, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { describe, it } from 'node:test';
import {
  type Context,
  contextPath,
  loadContext,
  removeContext,
  saveContext,
} from '../../../../server/cli/context-file.ts';
import { tempDir } from '../../../support/tmp.ts';

const CONTEXT: Context = { version: 1, server: 'https://h:1', trust: { kind: 'internal', ca: 'PEM' }, token: 'fla1.x' };

describe('the context file', () => {
  it('stands where XDG says, and ignores a relative XDG path', () => {
    assert.equal(contextPath({ XDG_CONFIG_HOME: '/x', HOME: '/h' }), '/x/fairlead/context.json');
    assert.equal(contextPath({ XDG_CONFIG_HOME: 'x', HOME: '/h' }), '/h/.config/fairlead/context.json');
  });

  it('is written for its owner alone, whole, and read back', async (t) => {
    const path = join(await tempDir(t), 'deep', 'fairlead', 'context.json');
    assert.equal(await loadContext(path), undefined);
    await saveContext(path, CONTEXT);
    await saveContext(path, { ...CONTEXT, server: 'https://h:2' });
    assert.deepEqual(await loadContext(path), { ...CONTEXT, server: 'https://h:2' });
    assert.equal((await stat(path)).mode & 0o777, 0o600);
    assert.equal((await stat(dirname(path))).mode & 0o777, 0o700);
    assert.deepEqual(await readdir(dirname(path)), ['context.json']);
    assert.equal(await removeContext(path), true);
    assert.equal(await removeContext(path), false);
  });

  it('is refused when others can read it, and when it is damaged', async (t) => {
    const path = join(await tempDir(t), 'context.json');
    await saveContext(path, CONTEXT);
    await chmod(path, 0o644);
    await assert.rejects(loadContext(path), /others can read it/);
    await chmod(path, 0o600);
    for (const text of ['{"version":1', '{}', '[]', '']) {
      await writeFile(path, text);
      await assert.rejects(loadContext(path), /damaged/);
    }
  });
});
