/** 200 agents in a few processes: they connect, beat, and come back after the server was killed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seedFleet, startFleet } from '../support/fleet.ts';
import { restartServer, type Server, startServer } from '../support/mesh.ts';
import { waitFor } from '../support/wait.ts';

const AGENTS = 200;
const PROCESSES = 2;
const HEARTBEAT_MS = 15_000;

interface HostView {
  name: string;
  state: string;
  lastSeenAt: string;
}

async function hosts(server: Server): Promise<HostView[]> {
  const all: HostView[] = [];
  let cursor = '';
  do {
    const { body } = await server.api.get(`/api/v1/hosts?limit=100${cursor}`);
    all.push(...body.items);
    cursor = body.nextCursor ? `&cursor=${encodeURIComponent(body.nextCursor)}` : '';
  } while (cursor !== '');
  return all;
}

async function waitForAll(server: Server, what: string, isSo: (host: HostView) => boolean, timeoutMs: number) {
  let last: HostView[] = [];
  await waitFor(
    what,
    async () => {
      last = await hosts(server);
      return last.length === AGENTS && last.every(isSo);
    },
    { timeoutMs, everyMs: 250, context: () => `${last.filter(isSo).length} of ${last.length}` },
  );
}

test('200 agents connect, beat and survive a server restart', async (t) => {
  const fleet = await seedFleet(t, await startServer(t), AGENTS);
  let { server } = fleet;
  startFleet(t, fleet.stateDirs, PROCESSES);
  await waitForAll(server, 'all agents to be online', (host) => host.state === 'online', 30_000);

  const connected = Date.now();
  await waitForAll(
    server,
    'a heartbeat of every agent',
    (host) => host.state === 'online' && Date.parse(host.lastSeenAt) > connected,
    2 * HEARTBEAT_MS + 5_000,
  );

  server = await restartServer(t, server, 'kill');
  await waitForAll(server, 'all agents to be back', (host) => host.state === 'online', 45_000);
  const { text } = await server.api.get('/metrics');
  assert.match(text, new RegExp(`^fairlead_sessions(?:\\{[^}]*\\})? ${AGENTS}$`, 'm'));
});
