/** A real Docker that is stopped and killed, and comes back while its containers run on: what is followed goes on. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, readlinkSync } from 'node:fs';
import { before, test } from 'node:test';
import type { ContainerOptions, TestContainer } from '../support/docker.ts';
import { TestEngine } from '../support/engine.ts';
import { addHost, type Server, startServer } from '../support/mesh.ts';
import { followEvents } from '../support/sse.ts';
import { type Cleanup, fileCleanup } from '../support/tmp.ts';
import { waitFor, within } from '../support/wait.ts';

const shared = fileCleanup();
let engine: TestEngine;
let server: Server;

/** Which docker0 the machine has: one that was removed and made again is another. */
const bridge = () => {
  const file = '/sys/class/net/docker0/ifindex';
  return existsSync(file) ? readFileSync(file, 'utf8') : undefined;
};
const bridgeBefore = bridge();

before(async () => {
  [engine, server] = await Promise.all([TestEngine.start(shared), startServer(shared)]);
  await addHost(shared, server, 'shed', ['--docker', engine.socket]);
});

const LINES = 400;
/** Both streams, 100 lines on each word; the words come by a file, so that the machine's pace does not matter. */
const SCRIPT = `i=0; while [ $i -lt ${LINES} ]; do i=$((i+1)); echo "o$i"; echo "e$i" >&2
  if [ $((i%100)) -eq 0 ]; then while [ ! -e /tmp/$i ]; do sleep 0.05; done; fi; done`;
const WRITER: ContainerOptions = { cmd: ['sh', '-c', SCRIPT] };

async function letGo({ id }: TestContainer, line: number): Promise<void> {
  const exec = await engine.docker.api('POST', `/containers/${id}/exec`, { Cmd: ['touch', `/tmp/${line}`] });
  await engine.docker.api('POST', `/exec/${exec.body.Id}/start`, { Detach: true });
}

/** What comes of a route for as long as it goes on. */
async function follow(cleanup: Cleanup, path: string): Promise<{ text: string; readonly end: Promise<void> }> {
  const response = await server.api.open('GET', path);
  cleanup.after(() => response.destroy());
  const followed = { text: '', end: Promise.resolve() };
  followed.end = (async () => {
    for await (const chunk of response as AsyncIterable<Buffer>) followed.text += chunk.toString();
  })();
  followed.end.catch(() => undefined); // whoever waits for it sees it
  return followed;
}

test('an Engine of its own leaves the network of the machine alone', () => {
  const network = (pid: number | 'self') => readlinkSync(`/proc/${pid}/ns/net`);
  assert.notEqual(network(engine.pid), network('self'));
  assert.equal(bridge(), bridgeBefore, 'docker0 is the one that was there');
});

test('logs and statistics go on over a stopped and a killed Docker, with every byte once; events do as well', async (t) => {
  const writers = await Promise.all([WRITER, { ...WRITER, tty: true }].map((each) => engine.docker.container(t, each)));
  const at = ({ id }: TestContainer, rest: string) => `/api/v1/hosts/shed/containers/${id}${rest}`;
  const logs = await Promise.all(writers.map((each) => follow(t, at(each, '/logs?follow=1'))));
  const [first] = writers as [TestContainer];
  const stats = await follow(t, at(first, '/stats'));
  const events = await followEvents(t, server.api, '/api/v1/events');
  const restarts = [() => engine.stop(), () => engine.kill()];
  for (const line of [100, 200, 300, 400]) {
    const isThere = () => logs.every(({ text }) => new RegExp(`^e${line}\\r?$`, 'm').test(text));
    await waitFor(`line ${line} of each`, isThere, { timeoutMs: 20_000 });
    const samples = stats.text.length;
    await restarts.shift()?.();
    if (line <= 200) await engine.up();
    await waitFor('another sample', () => stats.text.length > samples, { timeoutMs: 20_000 });
    await Promise.all(writers.map((each) => letGo(each, line)));
  }
  await within(20_000, 'the end of the logs', Promise.all(logs.map(({ end }) => end)));
  for (const [index, each] of writers.entries()) {
    const whole = await server.api.get(at(each, '/logs'));
    assert.equal(logs[index]?.text, whole.text);
    assert.equal(whole.text.trimEnd().split('\n').length, 2 * LINES);
  }
  const { name } = await engine.docker.container(t);
  await events.next('an event of what came later', ({ data }) => JSON.stringify(data).includes(name), 10_000);
  const seen = events.events.map(({ event }) => event).filter((event) => event.startsWith('docker.'));
  assert.ok(seen.includes('docker.unreachable') && seen.includes('docker.reachable'), seen.join());
});
