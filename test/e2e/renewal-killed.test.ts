/** kill -9 in the midst of renewals, at either end, over and over: the host comes back by itself every time. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { Launched } from '../support/launcher.ts';
import { enroll, restartServer, type Server, startAgent, startServer, waitForState } from '../support/mesh.ts';
import { waitFor } from '../support/wait.ts';

const LIFE_MS = 24_000;
const ARGS = ['--agent-cert-life', `${LIFE_MS / 1000}s`];

/** Resolves when the journal of a renewal is there, with the certificate if `issued`. */
async function midRenewal(stateDir: string, issued: boolean): Promise<void> {
  const look = async () => {
    const journal = JSON.parse(await readFile(join(stateDir, 'renewal.json'), 'utf8'));
    return !issued || journal.certPem !== undefined;
  };
  await waitFor('a renewal', look, { timeoutMs: LIFE_MS, everyMs: 1 });
}

async function hostOf(server: Server) {
  return (await server.api.get('/api/v1/hosts/alpha')).body;
}

test('agent and server are killed while they renew', async (t) => {
  let server = await startServer(t, { args: ARGS });
  const host = await enroll(t, server, 'alpha');
  let agent: Launched = startAgent(t, host);
  await waitForState(server, 'alpha', 'online');
  for (const [victim, issued] of [
    ['agent', false],
    ['server', false],
    ['agent', true],
    ['server', true],
  ] as const) {
    const { serial } = (await hostOf(server)).certificate;
    await midRenewal(host.stateDir, issued);
    if (victim === 'agent') {
      await agent.kill();
      agent = startAgent(t, host);
    } else {
      server = await restartServer(t, server, 'kill', ARGS);
    }
    await waitFor(
      `a new certificate after the ${victim} was killed`,
      async () => {
        const now = await hostOf(server);
        return now.state === 'online' && now.certificate.serial !== serial;
      },
      { timeoutMs: 2 * LIFE_MS, everyMs: 100, context: () => `${agent.transcript()}\n${server.process.transcript()}` },
    );
    const { id, quarantine } = await hostOf(server);
    assert.deepEqual([id, quarantine], [host.hostId, null]);
  }
});
