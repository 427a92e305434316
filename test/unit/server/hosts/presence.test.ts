import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { pino } from 'pino';
import type { HostLink } from '../../../../server/hosts/host-link.ts';
import { Presence } from '../../../../server/hosts/presence.ts';
import { HostRegistry } from '../../../../server/hosts/registry.ts';
import type { Store } from '../../../../server/store/store.ts';
import { FakeClock } from '../../../support/fake-clock.ts';

const HOSTS = 120;

function linkOf(hostId: string): HostLink {
  const link = {
    hostId,
    describe: () => ({ lastSeenAt: 1 }),
    closed: new Promise(() => undefined),
    close: () => undefined,
  };
  return link as unknown as HostLink;
}

function presenceOf() {
  const saved: string[] = [];
  const markSeen = async (hostId: string) => void saved.push(hostId);
  const store = { hosts: { markSeen } } as unknown as Store;
  const registry = new HostRegistry();
  const clock = new FakeClock();
  const presence = new Presence({ store, registry, clock, log: pino({ level: 'silent' }) });
  for (let i = 0; i < HOSTS; i++) registry.attach(linkOf(`host-${i}`));
  saved.length = 0;
  return { saved, registry, clock, presence };
}

test('the save of every minute takes several turns of the loop, and reaches every host that is still there', async (t) => {
  const { saved, registry, clock, presence } = presenceOf();
  t.after(() => presence.close());
  clock.advance(60_000);
  assert.ok(saved.length > 0 && saved.length < HOSTS, `${saved.length} at once`);
  const replaced = registry.link(`host-${HOSTS - 1}`);
  registry.attach(linkOf(`host-${HOSTS - 1}`)); // saves itself, as it comes
  while (new Set(saved).size < HOSTS) await nextTurn();
  for (let turn = 0; turn < 3; turn++) await nextTurn();
  assert.notEqual(registry.link(`host-${HOSTS - 1}`), replaced);
  assert.equal(saved.length, HOSTS, 'none twice: the older link of a host is not saved over its newer one');
});

test('a save that is under way ends with the server', async () => {
  const { saved, clock, presence } = presenceOf();
  clock.advance(60_000);
  const before = saved.length;
  await presence.close();
  for (let turn = 0; turn < 3; turn++) await nextTurn();
  assert.equal(saved.length, before);
});
