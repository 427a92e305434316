/** Hosts that are dialled, over a real store: what overlapping changes of one leave behind, while its secrets are opened. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { pino } from 'pino';
import { Audit } from '../../../../../server/audit/audit.ts';
import { StandardHosts } from '../../../../../server/hawser/standard/standard-hosts.ts';
import { HostRegistry } from '../../../../../server/hosts/registry.ts';
import { openStore } from '../../../../../server/store/store.ts';
import { FakeClock } from '../../../../support/fake-clock.ts';
import { type Cleanup, defer, tempDir } from '../../../../support/tmp.ts';
import { waitFor } from '../../../../support/wait.ts';

const ADMIN = { name: 'ann', address: '192.0.2.1' };
const WAY = { url: 'http://127.0.0.1:1', token: 'secret', insecureHttp: true };

/** One host; from then on secrets are opened only by `release`, in the order given. */
async function opened(scope: Cleanup) {
  const clock = new FakeClock();
  const log = pino({ level: 'silent' });
  const store = await openStore({ dataDir: await tempDir(scope, 'data'), clock });
  scope.after(() => store.close());
  const held: (() => void)[] = [];
  const hosts = await StandardHosts.open({
    ...{ store, clock, log, registry: new HostRegistry(), random: () => 0 },
    audit: new Audit({ store, clock, log }),
    secrets: {
      seal: async (bytes) => Buffer.from(bytes).toString('base64'),
      open: async (sealed) => {
        if (isHeld) await new Promise<void>((resolve) => held.push(resolve));
        return Buffer.from(sealed, 'base64').toString('utf8');
      },
    },
  });
  let isHeld = false;
  defer(scope, () => hosts.close());
  const before = clock.pendingTimers;
  const { hostId } = await hosts.add({ name: 'nas', ...WAY }, ADMIN);
  isHeld = true;
  /** Each waits for its next look: that is its one timer. */
  const diallers = () => clock.pendingTimers - before;
  const isAsked = (count: number) => waitFor(`${count} secrets to be opened`, () => held.length === count);
  /** A change that is in the store, and about to dial. */
  const change = async () => {
    const waiting = held.length;
    const done = hosts.change(hostId, { token: `${WAY.token}-${waiting}` }, ADMIN);
    done.catch(() => undefined);
    await isAsked(waiting + 1);
    held.pop()?.();
    await isAsked(waiting + 1);
    return { done };
  };
  const release = (at: number) => held.splice(at, 1)[0]?.();
  return { hosts, hostId, diallers, change, release };
}

for (const [which, places] of [
  ['the earlier', [0, 0]],
  ['the later', [1, 0]],
] as const) {
  test(`of two changes that overlap one dials, if ${which} is ready first`, async (t) => {
    const { hosts, hostId, diallers, change, release } = await opened(t);
    assert.equal(diallers(), 1);
    const changes = [await change(), await change()];
    for (const place of places) {
      release(place);
      await turn();
    }
    await Promise.all(changes.map(({ done }) => done));
    assert.equal(diallers(), 1);
    hosts.disconnect(hostId, 'the host is revoked');
    await waitFor('the end of all diallers', () => diallers() === 0);
  });
}

test('a host that is disconnected while its secrets are opened is not dialled, nor is any once the server stops', async (t) => {
  const { hosts, hostId, diallers, change, release } = await opened(t);
  const { done } = await change();
  hosts.disconnect(hostId, 'the host is revoked');
  release(0);
  await done;
  assert.equal(diallers(), 0);
  const last = await change();
  await hosts.close();
  release(0);
  await last.done;
  assert.equal(diallers(), 0);
});
