/** The end of a process that was attached to, by an Engine that is slow to tell of it. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { containerAttach } from '../../../../shared/messages/container-streams.ts';
import { FakeClock } from '../../../support/fake-clock.ts';
import { waitFor } from '../../../support/wait.ts';
import { engineAt, fakeDocker, SILENT } from '../docker/fake-docker.ts';
import { serve } from './served.ts';

const RUNNING = { Running: true, Paused: false };

/** @param after the state of the container once its output is over */
async function ended(t: TestContext, after: object): Promise<unknown> {
  const clock = new FakeClock();
  let inspections = 0;
  const docker = await fakeDocker(
    t,
    ({ url = '' }, response) => {
      // Docker's answer to the wait begins at once, and ends never.
      if (url.includes('/wait')) return response.flushHeaders();
      const State = inspections === 0 ? RUNNING : after;
      inspections += 1;
      response.end(JSON.stringify({ State, Config: { Tty: true } }));
    },
    (connection) => connection.end('output'),
  );
  const context = { docker: await engineAt(t, docker.socket, clock), info: { agentVersion: '0' }, log: SILENT };
  const { stream, done } = (await serve(t, context)).open(containerAttach, { id: 'web' });
  await stream.reply;
  stream.bytes.end();
  stream.bytes.resume();
  let isDone = false;
  void done.finally(() => {
    isDone = true;
  });
  await waitFor('the end', () => {
    clock.advance(500);
    return isDone;
  });
  return await stream.trailer;
}

test('a process that has ended is not said to run on, although Docker is late to tell of its end', async (t) => {
  assert.deepEqual(await ended(t, { Running: false, ExitCode: 7 }), { code: 7 });
});

test('a process that runs on without its output is said to', async (t) => {
  assert.deepEqual(await ended(t, { ...RUNNING, ExitCode: 0 }), {});
});
