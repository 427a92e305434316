import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { HostRegistry } from '../../../../server/hosts/registry.ts';
import { fakeLink } from './fake-link.ts';

function recorded() {
  const registry = new HostRegistry();
  const events: string[] = [];
  const unsubscribe = registry.subscribe({
    online: (link) => events.push(`online ${link.instanceId}`),
    offline: (link, cause) => events.push(`offline ${link.instanceId} ${cause.code}`),
    replaced: (older, newer) => events.push(`replaced ${older.instanceId} ${newer.instanceId}`),
  });
  return { registry, events, unsubscribe };
}

test('a host is online from its attach until its link is gone', async () => {
  const { registry, events } = recorded();
  const link = fakeLink('h', 'a');
  registry.attach(link);
  assert.equal(registry.link('h'), link);
  assert.equal(registry.size, 1);
  link.drop('TIMEOUT');
  await setImmediate();
  assert.equal(registry.link('h'), undefined);
  assert.deepEqual(events, ['online a', 'offline a TIMEOUT']);
});

test('a newer link replaces the older one at once, and the host does not go offline in between', async () => {
  const { registry, events } = recorded();
  const older = fakeLink('h', 'a');
  const newer = fakeLink('h', 'b');
  registry.attach(older);
  registry.attach(newer);
  assert.equal(registry.link('h'), newer);
  assert.equal(older.closedWith?.code, 'REPLACED');
  await setImmediate();
  assert.equal(registry.link('h'), newer);
  assert.deepEqual(events, ['online a', 'replaced a b', 'online b']);
});

test('an older link that ends late does not take the newer one with it', async () => {
  const { registry } = recorded();
  const [first, second] = [fakeLink('h', 'a'), fakeLink('h', 'b')];
  registry.attach(first);
  registry.attach(second);
  first.drop('STREAM_INTERRUPTED');
  await setImmediate();
  assert.equal(registry.link('h'), second);
});

test('hosts do not touch each other, and an ended subscription hears nothing', async () => {
  const { registry, events, unsubscribe } = recorded();
  registry.attach(fakeLink('h', 'a'));
  unsubscribe();
  registry.attach(fakeLink('i', 'b'));
  assert.equal(registry.size, 2);
  assert.deepEqual(events, ['online a']);
});
