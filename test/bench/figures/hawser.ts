/** A log that is read through an agent of Hawser: its pace, and how much the server grows by it. */
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Server, startServer, waitForState } from '../../support/mesh.ts';
import type { Cleanup } from '../../support/tmp.ts';
import { startPeer } from '../peer.ts';
import type { HawserAgentPeer } from '../peers/hawser-agent.ts';
import type { Row } from '../table.ts';

const KIB = 1024;
const MB = 1e6;
const MIB = KIB * KIB;
const LOG_BYTES = 60 * MB;
const LOOK_MS = 50;
const TRIES = 3;
/** What reads of 60 MB may add to the server's memory. */
const MAX_GROWTH_MIB = 64;
/** The figures of a real agent behind its own server; Docker sends lines of a log one by one, archives in full messages. */
const SHAPES = [
  { name: 'a log, lines of 100 bytes', messageBytes: 108, target: 8.3 },
  { name: 'bytes in messages of 4 KiB', messageBytes: 4 * KIB, target: 42 },
];

export async function hawser(): Promise<Row[]> {
  const undo: (() => unknown)[] = [];
  try {
    return await measure({ after: (fn) => void undo.unshift(fn) });
  } finally {
    for (const fn of undo) await fn();
  }
}

async function measure(cleanup: Cleanup): Promise<Row[]> {
  const server = await startServer(cleanup);
  const agent = startPeer<HawserAgentPeer>('hawser-agent.ts');
  cleanup.after(() => agent.close());
  const { body } = await server.api.post('/api/hawser/tokens', { name: 'nas' });
  const url = `${server.runtime.apiUrl.replace(/^https/, 'wss')}/api/hawser/connect`;
  await agent.call('connect', { url, ca: server.caPem, token: body.token });
  await waitForState(server, 'nas', 'online');
  const rows: Row[] = [];
  const before = await residentBytes(server);
  let peak = before;
  for (const { name, messageBytes, target } of SHAPES) {
    await agent.call('have', { messageBytes, messages: Math.ceil(LOG_BYTES / messageBytes) });
    let value = 0;
    for (let n = 0; n < TRIES; n++) {
      const read = readLog(server);
      peak = Math.max(peak, await peakDuring(server, read));
      value = Math.max(value, await read);
    }
    rows.push({ figure: `Hawser: ${name}`, value, unit: 'MB/s', target: `≥ ${target}`, held: value >= target });
  }
  const growth = (peak - before) / MIB;
  const target = `≤ ${MAX_GROWTH_MIB}`;
  return [
    ...rows,
    {
      figure: 'Hawser: growth of the server by those',
      value: growth,
      unit: 'MiB',
      target,
      held: growth <= MAX_GROWTH_MIB,
    },
  ];
}

/** @returns MB/s */
async function readLog(server: Server): Promise<number> {
  const from = performance.now();
  const answer = await server.api.open('GET', '/api/v1/hosts/nas/docker/containers/logger/logs?stdout=1');
  let bytes = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) bytes += chunk.byteLength;
  return bytes / MB / ((performance.now() - from) / 1000);
}

async function peakDuring(server: Server, work: Promise<unknown>): Promise<number> {
  let peak = 0;
  let isOver = false;
  const over = work.finally(() => {
    isOver = true;
  });
  while (!isOver) {
    peak = Math.max(peak, await residentBytes(server));
    await Promise.race([over, sleep(LOOK_MS)]);
  }
  return peak;
}

async function residentBytes({ process: { pid } }: Server): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * KIB;
}
