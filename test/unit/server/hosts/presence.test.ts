import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { pino } from 'pino';
import type { HostLink } from '../../../../server/hosts/host-link.ts';
import { Presence } from '../../../../server/hosts/presence.ts';
import { HostRegistry } from '../../../../server/hosts/registry.ts';
import type { SeenHost } from '../../../../server/store/hosts.ts';
import type { Store } from '../../../../server/store/store.ts';
import { FakeClock } from '../../../support/fake-clock.ts';

const HOSTS = 120;

function linkOf(hostId: string): HostLink {
  const link = {
    hostId,
    describe: () => ({ lastSeenAt: 1, os: 'linux', arch: 'x64', hostname: hostId, agentVersion: '1' }),
    closed: new Promise(() => undefined),
    close: () => undefined,
  };
  return link as unknown as HostLink;
}

async function presenceOf() {
  const saved: SeenHost[][] = [];
  const markSeen = async (seen: SeenHost[]) => void saved.push(seen);
  const store = { hosts: { markSeen } } as unknown as Store;
  const registry = new HostRegistry();
  const clock = new FakeClock();
  const presence = new Presence({ store, registry, clock, log: pino({ level: 'silent' }) });
  for (let i = 0; i < HOSTS; i++) registry.attach(linkOf(`host-${i}`));
  while (saved.flat().length < HOSTS) await nextTurn();
  const first = saved.splice(0);
  return { first, saved, registry, clock, presence };
}

test('hosts that come at once are saved together with what they say of themselves, a few in each turn', async (t) => {
  const { first, presence } = await presenceOf();
  t.after(() => presence.close());
  assert.ok(first.length < HOSTS / 10);
  assert.ok(first.every((some) => some.length <= HOSTS / 2));
  assert.ok(first.flat().every(({ id, hostname }) => hostname === id));
});

test('the save of every minute takes several turns of the loop, and reaches every host, each once', async (t) => {
  const { saved, registry, clock, presence } = await presenceOf();
  t.after(() => presence.close());
  clock.advance(60_000);
  registry.attach(linkOf(`host-${HOSTS - 1}`));
  await nextTurn();
  assert.ok(saved.flat().length < HOSTS, `${saved.flat().length} at once`);
  while (saved.flat().length < HOSTS) await nextTurn();
  for (let turn = 0; turn < 3; turn++) await nextTurn();
  assert.equal(new Set(saved.flat().map(({ id }) => id)).size, HOSTS);
  assert.equal(saved.flat().length, HOSTS, 'the older link of a host is not saved over its newer one');
});

test('what is due is saved as the server ends, and nothing after that', async () => {
  const { saved, registry, clock, presence } = await presenceOf();
  clock.advance(60_000);
  await presence.close();
  assert.equal(saved.flat().length, HOSTS);
  registry.attach(linkOf('host-0'));
  for (let turn = 0; turn < 3; turn++) await nextTurn();
  assert.equal(saved.flat().length, HOSTS);
});
