/** Docker through the mesh, against the Engine's own socket in the same run, by one and the same client. */
import { once } from 'node:events';
import http, { type IncomingMessage, type RequestOptions } from 'node:http';
import https from 'node:https';
import type { Socket } from 'node:net';
import { DOCKER_SOCKET, dockerApi, type TestContainer, testContainer } from '../../support/docker.ts';
import { addHost, type Server, startServer } from '../../support/mesh.ts';
import type { Cleanup } from '../../support/tmp.ts';
import { waitFor } from '../../support/wait.ts';
import type { Row } from '../table.ts';

/** Before they are measured: the first thousand and more run in code that V8 has not yet compiled for good. */
const WARMING_PINGS = 3000;
/** A token may make a thousand requests at once. */
const PINGING_TOKENS = 5;
const PINGS = 300;
const ARCHIVE_BYTES = 256 * 1024 * 1024;
const OUTPUT_BYTES = 256 * 1024 * 1024;
const LOG_LINES = 200_000;
const TRIES = 3;

/** Where Docker's API is, for a client. */
interface Target {
  readonly module: typeof http | typeof https;
  readonly options: RequestOptions;
  readonly prefix: string;
}

function socketTarget(): Target {
  const agent = new http.Agent({ keepAlive: true });
  return { module: http, options: { socketPath: DOCKER_SOCKET, agent }, prefix: '' };
}

function meshTarget(server: Server, host: string, token = server.adminToken): Target {
  const { hostname, port } = new URL(server.runtime.apiUrl);
  const agent = new https.Agent({ keepAlive: true });
  const headers = { authorization: `Bearer ${token}` };
  const options = { host: hostname, port, ca: server.caPem, servername: 'localhost', headers, agent };
  return { module: https, options, prefix: `/api/v1/hosts/${host}/docker` };
}

async function meshTargets(server: Server, host: string): Promise<Target[]> {
  const targets: Target[] = [];
  for (let n = 0; n < PINGING_TOKENS; n++) {
    const { body } = await server.api.post('/api/v1/api-tokens', { name: `pings-${n}`, role: 'operator' });
    targets.push(meshTarget(server, host, body.token));
  }
  return targets;
}

async function ask({ module, options, prefix }: Target, path: string): Promise<IncomingMessage> {
  const request = module.request({ ...options, path: prefix + path }).end();
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  if (response.statusCode !== 200) throw new Error(`${path}: ${response.statusCode}`);
  return response;
}

async function drained(source: IncomingMessage | Socket): Promise<number> {
  let bytes = 0;
  source.on('data', (chunk: Buffer) => {
    bytes += chunk.byteLength;
  });
  await once(source, 'end');
  return bytes;
}

/** @param targets the same one by different tokens, which take turns */
async function pingMs(targets: readonly Target[]): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < WARMING_PINGS + PINGS; i++) {
    const from = performance.now();
    const target = targets[i % targets.length];
    if (target !== undefined) await drained(await ask(target, '/_ping'));
    if (i >= WARMING_PINGS) times.push(performance.now() - from);
  }
  return times.toSorted((a, b) => a - b)[PINGS / 2] ?? Number.NaN;
}

/** Bytes of a stream from its first to its last, in MB/s. */
async function rateOf(stream: () => Promise<IncomingMessage | Socket>): Promise<number> {
  const from = performance.now();
  const bytes = await drained(await stream());
  return bytes / 1000 / (performance.now() - from);
}

/** The bare connection of an exec that writes so many bytes. */
async function output(target: Target, { id }: TestContainer): Promise<Socket> {
  const config = { AttachStdout: true, Cmd: ['head', '-c', String(OUTPUT_BYTES), '/dev/zero'] };
  const { body } = await dockerApi('POST', `/containers/${id}/exec`, config);
  const { module, options, prefix } = target;
  const headers = { ...options.headers, connection: 'Upgrade', upgrade: 'tcp', 'content-type': 'application/json' };
  const path = `${prefix}/exec/${body.Id}/start`;
  const request = module.request({ ...options, headers, path, method: 'POST', agent: false }).end('{"Detach":false}');
  const [, socket] = (await once(request, 'upgrade')) as [IncomingMessage, Socket, Buffer];
  return socket;
}

async function best(measure: () => Promise<number>): Promise<number> {
  const values: number[] = [];
  for (let i = 0; i < TRIES; i++) values.push(await measure());
  return Math.max(...values);
}

export async function docker(): Promise<Row[]> {
  const undo: (() => unknown)[] = [];
  try {
    return await measure({ after: (fn) => void undo.unshift(fn) });
  } finally {
    for (const fn of undo) await fn();
  }
}

async function measure(cleanup: Cleanup): Promise<Row[]> {
  const server = await startServer(cleanup);
  await addHost(cleanup, server, 'measured');
  const [socket, mesh] = [socketTarget(), meshTarget(server, 'measured')];
  const file = `head -c ${ARCHIVE_BYTES} /dev/urandom > /tmp/file; touch /tmp/made; sleep 100000`;
  const container = await testContainer(cleanup, { cmd: ['sh', '-c', file] });
  const logger = await testContainer(cleanup, { cmd: ['sh', '-c', `yes "a line of a log" | head -n ${LOG_LINES}`] });
  await waitFor(
    'the file',
    async () => (await dockerApi('GET', `/containers/${container.id}/changes`)).body.length > 2,
    {
      timeoutMs: 60_000,
    },
  );
  await dockerApi('POST', `/containers/${logger.id}/wait`);
  const streams: [figure: string, least: number, unit: string, open: (target: Target) => Promise<number>][] = [
    ['archive', 0.85, 'MB/s', (to) => rateOf(() => ask(to, `/containers/${container.id}/archive?path=/tmp/file`))],
    ['exec output', 0.85, 'MB/s', (to) => rateOf(() => output(to, container))],
    ['logs', 0.95, 'MB/s', (to) => rateOf(() => ask(to, `/containers/${logger.id}/logs?stdout=1`))],
  ];
  const [direct, through] = [await pingMs([socket]), await pingMs(await meshTargets(server, 'measured'))];
  const rows: Row[] = [
    {
      ...{ figure: 'Docker ping through the mesh, p50', value: through, unit: 'ms' },
      ...{ baseline: direct, against: 'socket', target: '≤ socket + 0.5 ms', held: through <= direct + 0.5 },
    },
  ];
  for (const [figure, least, unit, open] of streams) {
    const [baseline, value] = [await best(() => open(socket)), await best(() => open(mesh))];
    const compared = { baseline, against: 'socket', target: `≥ ${least}`, held: value >= least * baseline };
    rows.push({ figure: `Docker ${figure} through the mesh`, value, unit, ...compared });
  }
  return rows;
}
