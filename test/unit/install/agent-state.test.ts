import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { pointAgentAt, readAgentState } from '../../../install/launch/agent-state.ts';
import { waitForRuntime } from '../../../install/launch/runtime-file.ts';
import { tempDir } from '../../support/tmp.ts';

const STATE = {
  hostId: 'h',
  name: 'edge',
  server: 'https://127.0.0.1:1',
  agentUrl: 'wss://127.0.0.1:2/agent',
  caFingerprint: 'sha256:ab',
  enrolledAt: '2030-01-01T00:00:00Z',
  deny: ['exec'],
};

describe("the agent's state", () => {
  it('is absent, read, or damaged with a way out', async (t) => {
    const dir = await tempDir(t);
    assert.equal(await readAgentState(dir), undefined);
    await writeFile(join(dir, 'agent.json'), JSON.stringify(STATE));
    assert.equal((await readAgentState(dir))?.hostId, 'h');
    await writeFile(join(dir, 'agent.json'), '{}');
    await assert.rejects(readAgentState(dir), /damaged: .*remove the folder .*run npm start again/);
  });

  it('follows the server to other ports and keeps the policy of the owner', async (t) => {
    const dir = await tempDir(t);
    await writeFile(join(dir, 'agent.json'), JSON.stringify(STATE));
    const urls = { server: 'https://127.0.0.1:3', agentUrl: 'wss://127.0.0.1:4/agent' };
    await pointAgentAt(dir, urls);
    assert.deepEqual(JSON.parse(await readFile(join(dir, 'agent.json'), 'utf8')), { ...STATE, ...urls });
    assert.deepEqual(await readdir(dir), ['agent.json']);
  });
});

describe('the runtime file', () => {
  const RUNTIME = { pid: 7, apiUrl: 'a', agentUrl: 'b', caFingerprint: 'c', version: '1' };

  it('of an earlier server does not count', async (t) => {
    const dir = await tempDir(t);
    const path = join(dir, 'runtime.json');
    await writeFile(path, JSON.stringify({ ...RUNTIME, pid: 6 }));
    const found = waitForRuntime(dir, 7, AbortSignal.timeout(5_000));
    await writeFile(path, '{"pid":7');
    await writeFile(path, JSON.stringify(RUNTIME));
    assert.deepEqual(await found, RUNTIME);
  });

  it('is waited for no longer than wanted', async (t) => {
    const over = new AbortController();
    const found = waitForRuntime(await tempDir(t), 7, over.signal);
    over.abort();
    await assert.rejects(found, { name: 'AbortError' });
  });
});
