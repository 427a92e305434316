/** A command that is run to its end: what it holds while it runs, and how many there may be. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AnswerBudget } from '../../../../server/routes/answer-budget.ts';
import { EXEC_RUNS } from '../../../../server/routes/limits.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import { waitFor } from '../../../support/wait.ts';
import { as, ask, fixture } from './fakes.ts';

const URL = '/api/v1/hosts/edge-1/containers/web/exec';
const RUN = { method: 'POST', url: URL, headers: as('operator'), payload: { cmd: ['x'] } } as const;
const END = { exitCode: 3, stdout: Buffer.from('out').toString('base64'), stderr: '', truncated: false };
const answers = { 'container.exec.run': () => ({ execId: 'e' }) };

test('an answer takes its place once the command has ended', async (t) => {
  const { api, host } = await fixture({ answers });
  t.after(() => api.close());
  const begin = t.mock.method(AnswerBudget.prototype, 'begin');
  const answer = ask(api, RUN);
  const asked = await waitFor('the command', () => host.asked[0]);
  assert.equal(begin.mock.callCount(), 0, 'it holds none while it runs');
  asked.stream.trailer.resolve(END);
  assert.deepEqual((await answer).json(), { exitCode: 3, stdout: 'out', stderr: '', truncated: false });
  assert.equal(begin.mock.callCount(), 1);
});

test('what has been run is not told as if it had not, where its answer finds no room', async (t) => {
  const { api, host } = await fixture({ answers });
  t.after(() => api.close());
  t.mock.method(AnswerBudget.prototype, 'begin', () => {
    throw new FairleadError('OVERLOADED', 'too many answers');
  });
  const answer = ask(api, RUN);
  (await waitFor('the command', () => host.asked[0])).stream.trailer.resolve(END);
  const { code, detail, repeat } = (await answer).json();
  assert.deepEqual([code, repeat], ['STREAM_INTERRUPTED', 'unknown']);
  assert.match(detail, /ended with the exit code 3/);
});

test('a host runs so many at once; each gives its place back, however it ends', async (t) => {
  const { api, host, audit } = await fixture({ answers });
  t.after(() => api.close());
  const running = Array.from({ length: EXEC_RUNS.ofHost }, () => ask(api, RUN));
  await waitFor('the commands', () => host.asked.length === EXEC_RUNS.ofHost);
  const excess = await ask(api, RUN);
  assert.deepEqual([excess.statusCode, excess.json().code], [503, 'OVERLOADED']);
  assert.match(excess.json().detail, /^commands are in progress/);
  assert.equal(host.asked.length, EXEC_RUNS.ofHost, 'the host is not asked');
  assert.equal(audit.at(-1)?.result, 'failed');
  for (const { stream } of host.asked) stream.interrupt(new FairleadError('STREAM_INTERRUPTED', 'it broke off'));
  for (const each of await Promise.all(running)) assert.equal(each.json().code, 'STREAM_INTERRUPTED');
  const next = ask(api, RUN);
  (await waitFor('one more', () => host.asked[EXEC_RUNS.ofHost])).stream.trailer.resolve(END);
  assert.equal((await next).statusCode, 200);
});
