import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { waitFor, within } from '../../support/wait.ts';

function keepBusy(ms: number): void {
  const until = performance.now() + ms;
  while (performance.now() < until);
}

const never = new Promise<never>(() => undefined);

test('what does not come is missed by its name, with what is known', async () => {
  await assert.rejects(
    within(50, 'the end', never, () => 'as far as that'),
    /^Error: the end took longer than 50 ms\nas far as that$/,
  );
  const options = { timeoutMs: 50, everyMs: 5, context: () => 'all that was said' };
  await assert.rejects(
    waitFor('the word', () => false, options),
    /^Error: waited 50 ms in vain for the word\nall that/,
  );
});

test('the last error of a condition is the cause, and what makes waiting pointless ends it', async () => {
  const cause = new Error('refused');
  const refused = () => Promise.reject(cause);
  await assert.rejects(waitFor('it', refused, { timeoutMs: 20, everyMs: 5 }), (error) => {
    return error instanceof Error && error.cause === cause;
  });
  await assert.rejects(
    waitFor('it', () => undefined, { failed: () => 'it ended' }),
    /^Error: no it: it ended$/,
  );
});

test('time that this process was kept from running does not count', async () => {
  const late = async () => {
    await sleep(50);
    keepBusy(400);
    await sleep(50);
    return 'there';
  };
  assert.equal(await within(300, 'the answer', late()), 'there');
  const answer = late();
  let there = false;
  void answer.then(() => {
    there = true;
  });
  assert.equal(await waitFor('the answer', () => there, { timeoutMs: 300 }), true);
});
