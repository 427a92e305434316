import assert from 'node:assert/strict';
import type { RequestListener } from 'node:http';
import type { Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Exec } from '../../../../agent/docker/exec.ts';
import { endProcess } from '../../../../agent/docker/exec-process.ts';
import { systemClock } from '../../../../shared/clock.ts';
import { isFairleadError } from '../../../../shared/errors.ts';
import { waitFor, within } from '../../../support/wait.ts';
import { engineAt, type FakeDocker, fakeDocker, type Hijacked } from './fake-docker.ts';

/** What the fake Engine says of its one exec; changed as a test goes on. */
interface Said {
  status: number;
  body: Record<string, unknown>;
}

const RUNNING = { Running: true, ExitCode: null, Pid: 1, ContainerID: 'c'.repeat(64) };
const NEVER = new AbortController().signal;

async function startExec(t: TestContext, tty: boolean, hijacked: Hijacked): Promise<[Exec, Said, FakeDocker]> {
  const said: Said = { status: 200, body: RUNNING };
  const answer: RequestListener = (request, response) => {
    if (request.method === 'POST') return response.writeHead(201).end('{"Id":"e"}');
    if (request.url?.startsWith('/containers/')) return response.end('{"State":{"Pid":1}}');
    return response.writeHead(said.status).end(JSON.stringify(said.body));
  };
  const fake = await fakeDocker(t, answer, hijacked);
  const docker = await engineAt(t, fake.socket);
  const exec = await Exec.start(docker, { container: 'c', cmd: ['x'], tty, stdin: true }, NEVER);
  t.after(() => exec.connection.destroy());
  return [exec, said, fake];
}

test('output that waits is read to its end although stdin can no longer be written', async (t) => {
  const output = 'x'.repeat(100_000);
  const [exec] = await startExec(t, false, (connection) => connection.end(output, () => connection.destroy()));
  await sleep(50);
  for (let writes = 0; writes < 3; writes++) {
    exec.connection.write('for nobody');
    await sleep(10);
  }
  assert.equal((await text(exec.connection)).length, output.length);
});

test('the exit code is waited for while the process still runs', async (t) => {
  const [exec, said] = await startExec(t, false, (connection) => connection.end());
  setTimeout(() => {
    said.body = { ...RUNNING, Running: false, ExitCode: 5 };
  }, 50);
  assert.equal(await exec.exitCode(NEVER, false), 5);
});

test('that wait ends with its signal', async (t) => {
  const [exec] = await startExec(t, false, (connection) => connection.end());
  const reason = new Error('left');
  const abort = new AbortController();
  setTimeout(() => abort.abort(reason), 50);
  await assert.rejects(
    exec.exitCode(abort.signal, false),
    (error) => error === reason || isFairleadError(error, 'CANCELLED'),
  );
});

test('a connection that broke while the process runs is an interruption', async (t) => {
  const [exec] = await startExec(t, false, (connection) => connection.destroy());
  await assert.rejects(exec.exitCode(NEVER, true), (error) => isFairleadError(error, 'STREAM_INTERRUPTED'));
});

test('an exec that Docker no longer knows is an interruption', async (t) => {
  const [exec, said] = await startExec(t, false, (connection) => connection.end());
  said.status = 404;
  said.body = { message: 'No such exec instance: e' };
  await assert.rejects(exec.exitCode(NEVER, false), (error) => isFairleadError(error, 'STREAM_INTERRUPTED'));
});

test('a Docker that is gone when the exit code is asked for is not reachable', async (t) => {
  const [exec, , fake] = await startExec(t, false, () => undefined);
  await fake.kill();
  await assert.rejects(exec.exitCode(NEVER, false), (error) => isFairleadError(error, 'DOCKER_UNREACHABLE'));
});

for (const tty of [true, false]) {
  test(`a process out of reach gets ${tty ? 'an interrupt and ' : ''}the end of its input, and no signal`, async (t) => {
    const received: string[] = [];
    let ended = false;
    const take = (connection: Socket) =>
      connection
        .on('data', (chunk) => received.push(chunk.toString('latin1')))
        .on('end', () => {
          ended = true;
        });
    const [exec] = await startExec(t, tty, take);
    // The fake Engine names process 1 of this very machine, which is in no container of that id.
    assert.equal(await within(1_000, 'the end', exec.end()), false);
    await waitFor('the end of the input', () => ended);
    assert.equal(received.join(''), tty ? '\x03\x04' : '');
  });
}

test('a process is never signalled without certainty that it is the exec', async () => {
  const mine = { pid: process.pid, containerPid: 0 };
  assert.equal(await endProcess({ ...mine, containerId: '' }, systemClock), false);
  assert.equal(await endProcess({ ...mine, containerId: 'a'.repeat(64) }, systemClock), false);
  assert.equal(await endProcess({ ...mine, containerId: '/' }, systemClock), false);
});
