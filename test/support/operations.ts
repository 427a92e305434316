/** Long operations on a host by the API, each as it stands in the middle: for tests that break something off under them. */
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import https from 'node:https';
import { text } from 'node:stream/consumers';
import { projectFilter } from './compose-projects.ts';
import { type ContainerOptions, TEST_IMAGE, type TestContainer } from './docker.ts';
import type { TestEngine } from './engine.ts';
import { ExecClient } from './exec-client.ts';
import type { Api } from './http.ts';
import type { TestRegistry } from './registry.ts';
import { type Cleanup, defer } from './tmp.ts';
import { volumeName } from './volumes.ts';
import { waitFor } from './wait.ts';

/** How an operation ended. */
export interface Ended {
  /** It looks like one that was done. */
  readonly isWhole: boolean;
  /** The code of the error that was told; absent where none was. */
  readonly code?: string;
}

/** Takes what is left of an operation. To be called once it was broken off; until then a slow reader stays one. */
type End = () => Promise<Ended>;
/** Resolves once Docker has begun it; however far it came, it is left after the test. */
type Operation = (site: Site, cleanup: Cleanup) => Promise<End>;

/** An operation that Docker has begun. */
export interface Begun {
  readonly name: string;
  readonly end: End;
}

export interface Site {
  readonly api: Api;
  readonly host: string;
  readonly engine: TestEngine;
  readonly registry: TestRegistry;
  /** Says `tick` ten times a second. */
  readonly talker: TestContainer;
  /** Says nothing. */
  readonly quiet: TestContainer;
  /** For files that go in. */
  readonly inbox: TestContainer;
  /** For files that go out, of which it has `/tmp/endless`: Docker locks a container while they do. */
  readonly outbox: TestContainer;
  /** Too large for what buffers there are on the way. */
  readonly image: string;
  /** With a volume's worth of the same. */
  readonly volume: string;
  /** The name of a stack that is not there yet. */
  readonly stack: string;
}

export const TALKER: ContainerOptions = { cmd: ['sh', '-c', 'while sleep 0.1; do echo tick; done'] };
export const OUTBOX: ContainerOptions = {
  cmd: ['sh', '-c', 'truncate -s 8G /tmp/endless; trap "exit 0" TERM; sleep 1000 & wait'],
};
/** What an exec of these operations runs. */
const LEFT_PROCESS = 'sleep 12345';
/** A tar that has begun: the head of a file of 1 GiB, and some of its bytes. */
function begunTar(): Buffer {
  const tar = Buffer.alloc(64 * 1024);
  tar.write('begun');
  tar.write('0000644\x000000000\x000000000\x0010000000000\x0000000000000\0        0', 100, 'latin1');
  tar.write('ustar\x0000', 257, 'latin1');
  const sum = tar.subarray(0, 512).reduce((total, byte) => total + byte, 0);
  tar.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return tar;
}

/** A service that is healthy once it has a file `/tmp/go`, and one that waits for that. */
const STUCK = `services:
  one:
    image: ${TEST_IMAGE}
    pull_policy: never
    command: ["sleep", "1000"]
    stop_grace_period: 0s
    network_mode: none
    healthcheck: {test: ["CMD", "test", "-e", "/tmp/go"], interval: 1s, retries: 600}
  two:
    image: ${TEST_IMAGE}
    pull_policy: never
    command: ["sleep", "1000"]
    network_mode: none
    depends_on: {one: {condition: service_healthy}}
`;

const OPERATIONS: Readonly<Record<string, Operation>> = {
  exec: (site, cleanup) => terminal(site, cleanup, '/exec?cmd=sleep&cmd=12345', () => runs(site, site.talker)),
  'exec to its end': async (site, cleanup) => {
    const leaving = new AbortController();
    defer(cleanup, () => leaving.abort());
    const body = { cmd: LEFT_PROCESS.split(' ') };
    const asked = site.api.request('POST', at(site, site.quiet, '/exec'), { body, signal: leaving.signal });
    const end = settled(asked.then(({ status, body }) => ended(status < 300, body?.code)));
    await waitFor('the process', () => runs(site, site.quiet));
    return () => end;
  },
  attach: (site, cleanup) => terminal(site, cleanup, '/attach', async (got) => got.includes('tick')),
  stats: (site, cleanup) => download(site, cleanup, at(site, site.talker, '/stats?resume=0')),
  'a log': (site, cleanup) => download(site, cleanup, at(site, site.talker, '/logs?follow=1&resume=0')),
  'files out': async (site, cleanup) => {
    const file = '/archive?path=/tmp/endless';
    const isThere = async () =>
      (await site.engine.docker.api('HEAD', `/containers/${site.outbox.id}${file}`)).status === 200;
    await waitFor('the file, which its container makes once it runs', isThere);
    return await download(site, cleanup, at(site, site.outbox, file));
  },
  'files in': async (site, cleanup) => {
    const { Pid } = (await site.engine.docker.api('GET', `/containers/${site.inbox.id}/json`)).body.State;
    const isThere = () => existsSync(`/proc/${Pid}/root/tmp/begun`);
    return await upload(site, cleanup, { method: 'PUT', path: at(site, site.inbox, '/archive?path=/tmp') }, isThere);
  },
  'an image out': (site, cleanup) => download(site, cleanup, of(site, `/images/${site.image}/archive`)),
  'an image in': (site, cleanup) => {
    const isBegun = () => readdirSync(site.engine.path('data/tmp')).some((name) => name.startsWith('docker-import-'));
    return upload(site, cleanup, { method: 'POST', path: of(site, '/images/load') }, isBegun);
  },
  'an image pulled': async (site, cleanup) => {
    const body = { reference: site.registry.name };
    const end = await download(site, cleanup, of(site, '/images/pull'), { method: 'POST', body });
    await waitFor('the layer', () => site.registry.held() > 0);
    return end;
  },
  'a volume out': (site, cleanup) => download(site, cleanup, of(site, `/volumes/${site.volume}/archive`)),
  'a volume in': (site, cleanup) => {
    const volume = volumeName(cleanup, site.engine.docker);
    const isBegun = async () => (await site.engine.docker.api('GET', `/volumes/${volume}`)).status === 200;
    return upload(site, cleanup, { method: 'PUT', path: of(site, `/volumes/${volume}/archive`) }, isBegun);
  },
  'a stack deployed': async (site, cleanup) => {
    const body = { compose: STUCK };
    const end = await download(site, cleanup, of(site, `/stacks/${site.stack}`), { method: 'PUT', body });
    await waitFor('the first container', async () => (await inStack(site)).length > 0);
    return end;
  },
};

/** Begins all of them at once. */
export async function beginAll(cleanup: Cleanup, site: Site): Promise<Begun[]> {
  const begin = async ([name, operation]: [string, Operation]) => ({ name, end: await operation(site, cleanup) });
  return await Promise.all(Object.entries(OPERATIONS).map(begin));
}

/** The containers of the stack that run. */
export async function inStack({ engine, stack }: Site): Promise<{ Id: string }[]> {
  return (await engine.docker.api('GET', `/containers/json?filters=${projectFilter(stack)}`)).body;
}

/** Whether the process of an exec runs in a container. */
export async function runs({ engine }: Site, { id }: TestContainer): Promise<boolean> {
  return JSON.stringify((await engine.docker.api('GET', `/containers/${id}/top`)).body).includes(LEFT_PROCESS);
}

const of = ({ host }: Site, rest: string) => `/api/v1/hosts/${host}${rest}`;
const at = (site: Site, { id }: TestContainer, rest: string) => of(site, `/containers/${id}${rest}`);

function ended(isWhole: boolean, code: unknown): Ended {
  return typeof code === 'string' ? { isWhole, code } : { isWhole };
}

/** A connection that was lost says nothing, and looks like nothing that was done. */
async function settled(end: Promise<Ended>): Promise<Ended> {
  return await end.catch(() => ended(false, undefined));
}

async function terminal(
  site: Site,
  cleanup: Cleanup,
  path: string,
  isBegun: (got: string) => Promise<boolean>,
): Promise<End> {
  const client = await ExecClient.at(site.api, at(site, site.talker, path));
  defer(cleanup, () => client.webSocket.terminate());
  await waitFor('its process', () => isBegun(client.output));
  return async () => {
    const { code, reason } = await client.closed;
    return ended(client.exitCode !== undefined || code === 1000, reason || undefined);
  };
}

/** Reads a little, and the rest when its end is asked for. */
async function download(
  { api }: Site,
  cleanup: Cleanup,
  path: string,
  { method = 'GET', body }: { method?: string; body?: object } = {},
): Promise<End> {
  const response = await api.open(method, path, body === undefined ? {} : { body });
  if (response.statusCode !== 200) throw new Error(`${method} ${path}: ${response.statusCode} ${await text(response)}`);
  defer(cleanup, () => response.destroy());
  const broken = new Promise<false>((resolve) => response.once('error', () => resolve(false)));
  const whole = new Promise<true>((resolve) => response.once('end', () => resolve(true)));
  await once(response, 'readable');
  let last = '';
  const take = (chunk: Buffer) => {
    last = (last + chunk.toString()).slice(-4_096);
  };
  const isText = (response.headers['content-type'] ?? '').includes('json');
  if (isText) response.on('data', take);
  return async () => {
    response.resume();
    const isWhole = await Promise.race([whole, broken]);
    return ended(isWhole, isText ? lastRecord(last).error?.code : undefined);
  };
}

function lastRecord(lines: string): { error?: { code?: string } } {
  try {
    return JSON.parse(lines.trimEnd().split('\n').at(-1) ?? '');
  } catch {
    return {}; // it was cut off in the middle of one
  }
}

/** Sends the beginning of a tar, and no more. */
async function upload(
  { api }: Site,
  cleanup: Cleanup,
  { method, path }: { method: string; path: string },
  isBegun: () => boolean | Promise<boolean>,
): Promise<End> {
  const headers = { authorization: `Bearer ${api.token}`, 'content-type': 'application/x-tar' };
  const request = https.request(new URL(path, api.url), { method, ca: api.ca, agent: false, headers });
  defer(cleanup, () => request.destroy());
  const response = new Promise<IncomingMessage>((resolve, reject) => {
    request.on('response', resolve).on('error', reject);
  });
  const end = settled(
    response.then(async (answer) => {
      const status = answer.statusCode ?? 0;
      const said = await text(answer);
      return ended(status < 300, said === '' ? undefined : JSON.parse(said).code);
    }),
  );
  request.write(begunTar());
  await waitFor(`${method} ${path} at Docker`, isBegun);
  return () => end;
}
