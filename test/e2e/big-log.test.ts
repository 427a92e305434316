/** A log of 100 MB read by a client that pauses for 5 s: complete, byte for byte, and nobody's memory pays for it. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { dockerApi, testContainer } from '../support/docker.ts';
import { type Launched, runSources } from '../support/launcher.ts';
import { addHost, type Server, startServer } from '../support/mesh.ts';
import { fileCleanup } from '../support/tmp.ts';
import { waitFor } from '../support/wait.ts';

const MIB = 1024 * 1024;
const LINES = MIB;
const LINE_BYTES = 100;
const PAUSE_AFTER_BYTES = 4 * MIB;
const PAUSE_MS = 5_000;
const MAX_GROWTH_BYTES = 64 * MIB;

const shared = fileCleanup();
let server: Server;
let agent: Launched;

before(async () => {
  runSources();
  server = await startServer(shared);
  agent = (await addHost(shared, server, 'shed')).process;
});

const filler = 'x'.repeat(LINE_BYTES - 9);
const line = (i: number) => `${String(i).padStart(7, '0')} ${filler}\n`;

function expectedHash(): string {
  const hash = createHash('sha256');
  for (let i = 0; i < LINES; i += 1024) hash.update(Array.from({ length: 1024 }, (_, j) => line(i + j)).join(''));
  return hash.digest('hex');
}

async function writtenLog(): Promise<string> {
  const script = `awk 'BEGIN { for (i = 0; i < ${LINES}; i++) printf "%07d ${filler}\\n", i }'`;
  const { id } = await testContainer(shared, { cmd: ['sh', '-c', script] });
  await waitFor(
    'the container to have written its log',
    async () => (await dockerApi('GET', `/containers/${id}/json`)).body.State.Status === 'exited',
    { timeoutMs: 90_000, everyMs: 100 },
  );
  return id;
}

const together = () => server.process.residentBytes() + agent.residentBytes();

test('a slow reader gets all of a 100 MB log, and server and agent together grow by less than 64 MiB', async (t) => {
  const id = await writtenLog();
  const path = `/api/v1/hosts/shed/containers/${id}/logs`;
  // What a first stream loads is not what this stream costs.
  assert.equal((await server.api.get(`${path}?tail=1000`)).text.length, 1000 * LINE_BYTES);
  const base = together();
  let peak = base;
  const watch = setInterval(() => {
    peak = Math.max(peak, together());
  }, 50);
  try {
    const response = await server.api.open('GET', path);
    const hash = createHash('sha256');
    let bytes = 0;
    let paused = false;
    for await (const chunk of response as AsyncIterable<Buffer>) {
      hash.update(chunk);
      bytes += chunk.length;
      if (!paused && bytes > PAUSE_AFTER_BYTES) {
        paused = true;
        await sleep(PAUSE_MS);
      }
    }
    assert.equal(bytes, LINES * LINE_BYTES);
    assert.equal(hash.digest('hex'), expectedHash());
  } finally {
    clearInterval(watch);
  }
  const growth = Math.max(peak, together()) - base;
  t.diagnostic(`server and agent grew by ${(growth / MIB).toFixed(1)} MiB`);
  assert.ok(growth < MAX_GROWTH_BYTES, `server and agent grew by ${(growth / MIB).toFixed(1)} MiB`);
});
