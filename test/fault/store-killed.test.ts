/** A server that is killed in the midst of enrollments: what it answered stands, and nothing stands by halves. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { openStore } from '../../server/store/store.ts';
import { systemClock } from '../../shared/clock.ts';
import { tempDir } from '../support/tmp.ts';

const ENROLLER = fileURLToPath(new URL('store-enroller.ts', import.meta.url));
const ROUNDS = 3;

test('killed while it enrolls', async (t) => {
  const dataDir = join(await tempDir(t, 'store'), 'data');
  const answered: { hostId: string; certificate: string }[] = [];
  for (let round = 1; round <= ROUNDS; round++) {
    const child = spawn(process.execPath, [ENROLLER, dataDir], { stdio: ['ignore', 'pipe', 'inherit'] });
    t.after(() => child.kill('SIGKILL'));
    const exit = once(child, 'exit');
    const before = answered.length;
    for await (const line of createInterface({ input: child.stdout })) {
      if (line.endsWith('}')) answered.push(JSON.parse(line));
      // After a few answers, a different number each round, others are under way.
      if (answered.length === before + 5 + round) child.kill('SIGKILL');
    }
    const [, signal] = await exit;
    assert.equal(signal, 'SIGKILL');

    const store = await openStore({ dataDir, clock: systemClock });
    const { items: tokens } = await store.enrollmentTokens.list({ limit: 500 });
    const { items: hosts } = await store.hosts.list({ limit: 500 });
    const { items: certificates } = await store.certificates.list({ limit: 500 });
    const { items: rows } = await store.audit.list({ limit: 500 }, { action: 'host.enroll' });
    const used = tokens.flatMap(({ use }) => (use === undefined ? [] : [use]));
    const ids = (list: readonly string[]) => [...list].sort();
    const hostIds = ids(hosts.map(({ id }) => id));
    assert.deepEqual(ids(used.map(({ hostId }) => hostId)), hostIds);
    assert.deepEqual(ids(certificates.map(({ hostId }) => hostId)), hostIds);
    assert.deepEqual(ids(rows.map(({ target }) => target ?? '')), hostIds);
    for (const { hostId, certificate } of answered) {
      assert.equal((await store.certificates.latestOf(hostId))?.pem, certificate);
    }
    await store.close();
  }
});
