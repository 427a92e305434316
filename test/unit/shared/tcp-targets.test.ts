/** What connections to ports a host's policy permits: nothing that is not named. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { idleEntries, mergePolicy, permits } from '../../../agent/policy/policy.ts';
import { containerList } from '../../../shared/messages/container.ts';
import { STREAM_KINDS } from '../../../shared/messages/index.ts';
import { tcpOpen } from '../../../shared/messages/tcp.ts';
import { permitsTarget } from '../../../shared/tcp-targets.ts';

/** Whether `policy` lets `target` be reached, as the dispatcher and the handler ask one after the other. */
function reaches(policy: { allow?: string[]; deny?: string[] }, target: string): boolean {
  const { allow = [], deny = [] } = policy;
  const merged = mergePolicy({}, { allow, deny });
  const [container, port] = target.split(':');
  const asked = { container: container === '' ? undefined : container, port: Number(port) };
  return permits(merged, tcpOpen) && permitsTarget(merged, asked);
}

test('nothing opens it but its own name: no empty list, no preset, no star, no other class or family', () => {
  const others = [
    [],
    ['full'],
    ['*'],
    ['read', 'change', 'exec'],
    ['operate', 'container.*'],
    ['docker:*'],
    ['docker'],
  ];
  for (const allow of others) {
    assert.ok(!permits(mergePolicy({}, { allow }), tcpOpen), allow.join());
    for (const target of ['web:80', ':22']) assert.ok(!reaches({ allow }, target), `${allow} ${target}`);
  }
});

test('its name, its family and its class open all of it', () => {
  for (const entry of ['tcp.open', 'tcp', 'tcp.*', 'connect']) {
    for (const target of ['web:80', ':22', 'host:1']) assert.ok(reaches({ allow: ['full', entry] }, target), entry);
  }
});

test('entries name containers and ports, the host apart from a container of that name', () => {
  const cases: [entry: string, reached: string[], not: string[]][] = [
    ['tcp:web:80', ['web:80'], ['web:81', 'web2:80', ':80', 'we:80']],
    ['tcp:web:*', ['web:1', 'web:65535'], ['db:80', ':80']],
    ['tcp:*:80', ['web:80', 'host:80'], [':80', 'web:81']],
    ['tcp:*:*', ['web:80', 'db:1'], [':80']],
    ['tcp:web:8000-8002', ['web:8000', 'web:8002'], ['web:7999', 'web:8003']],
    ['tcp:host:22', [':22'], ['host:22', ':23', 'web:22']],
    ['tcp:host:*', [':1'], ['host:1']],
  ];
  for (const [entry, reached, not] of cases) {
    for (const target of reached) assert.ok(reaches({ allow: [entry] }, target), `${entry} ${target}`);
    for (const target of not) assert.ok(!reaches({ allow: [entry] }, target), `${entry} ${target}`);
  }
});

test('a denial takes away again, and its star has the host as well', () => {
  const open = ['tcp.open'];
  assert.ok(!reaches({ allow: open, deny: ['tcp:web:22'] }, 'web:22'));
  assert.ok(reaches({ allow: open, deny: ['tcp:web:22'] }, 'web:23'));
  for (const target of ['web:22', ':22', 'host:22']) assert.ok(!reaches({ allow: open, deny: ['tcp:*:22'] }, target));
  for (const target of [':22', 'host:22']) assert.ok(!reaches({ allow: open, deny: ['tcp:host:*'] }, target));
  for (const deny of ['*', 'tcp', 'tcp.*', 'tcp.open', 'connect']) {
    assert.ok(!reaches({ allow: ['tcp.open', 'tcp:web:80'], deny: [deny] }, 'web:80'), deny);
  }
});

test('an entry is one of kinds: what is not named beside it is not served', () => {
  assert.ok(!permits(mergePolicy({}, { allow: ['tcp:web:80'] }), containerList));
  assert.ok(permits(mergePolicy({}, { allow: ['full', 'tcp:web:80'] }), containerList));
  assert.ok(permits(mergePolicy({}, { deny: ['tcp:web:80'] }), containerList));
});

test('what names nothing is refused, and said so', () => {
  const wrong = ['tcp:', 'tcp:web', 'tcp:web:', 'tcp:web:0', 'tcp:web:65536', 'tcp:web:9-8', 'tcp:we b:80', 'tcp::80'];
  for (const entry of [...wrong, 'tcp:/web:80', 'tcp:web:80-', 'tcp:web:http', 'tcp:**:80', 'tcp:web:1-*']) {
    assert.throws(
      () => mergePolicy({}, { allow: [entry] }),
      /--allow: .* names nothing that can be reached; write tcp:/,
    );
    assert.throws(() => mergePolicy({ deny: [entry] }, {}), { code: 'VALIDATION' }, entry);
  }
  assert.deepEqual(idleEntries({ allow: ['tcp:web:80'], deny: ['tcp:host:*'] }, STREAM_KINDS), []);
});

test('whatever the entries are, a target that none of them names is not reached', () => {
  const name = fc.constantFrom('web', 'db', 'host', '*');
  const port = fc.constantFrom('80', '*', '70-90', '443');
  const entry = fc.tuple(name, port).map(([container, ports]) => `tcp:${container}:${ports}`);
  const target = fc.record({
    container: fc.constantFrom(undefined, 'web', 'db', 'host', 'other'),
    port: fc.constantFrom(79, 80, 443, 1000),
  });
  const within = (ports: string, at: number) => {
    const [first = '', last = first] = ports === '*' ? ['1', '65535'] : ports.split('-');
    return at >= Number(first) && at <= Number(last);
  };
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 4 }), target, (allow, asked) => {
      const named = allow.some((each) => {
        const [, container = '', ports = ''] = each.split(':');
        const isIt = asked.container === undefined ? container === 'host' : [asked.container, '*'].includes(container);
        return isIt && (asked.container !== 'host' || container === '*') && within(ports, asked.port);
      });
      assert.equal(permitsTarget({ allow, deny: [] }, asked), named);
    }),
  );
});
