/** A denial by name holds whichever kind would do it. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ACTS } from '../../../../agent/policy/acts.ts';
import { deniedAct, mergePolicy, permits } from '../../../../agent/policy/policy.ts';
import { permitsProxied } from '../../../../agent/policy/proxied-calls.ts';
import { KNOWN_CALLS } from '../../../../shared/docker/api-calls.ts';
import { dockerRequest } from '../../../../shared/messages/docker.ts';
import { STREAM_KINDS } from '../../../../shared/messages/index.ts';
import type { StreamKind } from '../../../../shared/messages/kind.ts';

const deny = (...entries: string[]) => mergePolicy({}, { deny: entries });
const NAMES = new Set(KNOWN_CALLS.map(({ name }) => name));

function kindOf(name: string): StreamKind {
  const kind = STREAM_KINDS.find((one) => one.name === name);
  assert.ok(kind, `${name} is no kind`);
  return kind;
}

const served = (policy: Parameters<typeof permits>[0]) =>
  STREAM_KINDS.filter((kind) => permits(policy, kind)).map(({ name }) => name);

describe('what a kind does beside what its name says', () => {
  for (const [name, { as = [], sometimes = [], apart = {} }] of ACTS) {
    test(`${name}: is a name of the catalogue, once, and has a reason where it stands apart`, () => {
      kindOf(name);
      const all = [...as, ...sometimes, ...Object.keys(apart)];
      assert.equal(new Set([name, ...all]).size, all.length + 1);
      for (const each of all) assert.ok(NAMES.has(each), `${each} is no call's name`);
      for (const [each, why] of Object.entries(apart)) assert.ok(why.length > 10, each);
    });

    test(`${name}: is denied with each thing that it does, and by nothing else`, () => {
      const kind = kindOf(name);
      const opened = { allow: ['full', name], deny: [] };
      for (const act of as) {
        for (const entry of [act, `${act.split('.')[0]}`, `${act.split('.')[0]}.*`]) {
          assert.ok(!permits(deny(entry), kind), entry);
          assert.ok(!permits({ allow: ['full'], deny: [entry] }, kind), entry);
        }
        assert.equal(deniedAct(deny(act), kind), act);
        assert.ok(permits({ ...opened, deny: [act] }, kind), 'the owner has thought of this one');
      }
      assert.ok(!permits({ ...opened, deny: [name] }, kind), 'deny wins');
      const family = `${name.split('.')[0]}.*`;
      if (as.length > 0) assert.ok(!permits({ allow: ['full', family], deny: [...as] }, kind), 'a family is no name');
      for (const act of NAMES) {
        if (act === name || as.includes(act) || kind.policy === 'connect') continue;
        assert.ok(permits(deny(act), kind), act);
      }
    });
  }
});

test('what one denies to be done is not done by a kind of another name', () => {
  const without = (...entries: string[]) => {
    const left = new Set(served(deny(...entries)));
    return served(deny()).filter((name) => !left.has(name));
  };
  assert.deepEqual(without('container.exec.open'), ['container.exec.open', 'container.exec.run']);
  assert.deepEqual(without('container.exec'), ['container.exec.open', 'container.exec.run']);
  assert.deepEqual(without('container.log.stream'), ['container.log.stream', 'stack.logs']);
  assert.deepEqual(without('container.stats'), ['host.stats', 'container.stats']);
  const lists = ['volume.transfer.send', 'volume.transfer.prepare', 'volume.transfer.apply'];
  const stacks = ['stack.list', 'stack.logs', 'stack.status'];
  assert.deepEqual(without('container.list'), ['host.stats', 'container.list', ...lists, ...stacks]);
  const takesOut = ['volume.browse', 'volume.export', 'volume.transfer.send'];
  assert.deepEqual(without('container.archive.get'), ['container.archive.get', ...takesOut]);
  const putsIn = ['volume.import', 'volume.transfer.prepare', 'volume.transfer.apply'];
  assert.deepEqual(without('container.archive.put'), ['container.archive.put', ...putsIn]);
  const replaces = ['volume.transfer.prepare', 'volume.transfer.apply'];
  assert.deepEqual(without('volume.remove'), ['volume.remove', 'volume.prune', ...replaces]);
  assert.deepEqual(without('volume.create'), ['volume.create', ...replaces]);
  assert.deepEqual(without('container.remove'), ['container.remove', 'container.prune']);
  assert.deepEqual(without('container.exec.run'), ['container.exec.run'], 'a shell is another thing to allow');
});

test('classes are of the kind alone, and lists that name just a kind serve it', () => {
  for (const kind of STREAM_KINDS) {
    for (const entry of ['read', 'change', 'exec'].filter((each) => each !== kind.policy)) {
      assert.equal(permits(deny(entry), kind), permits(deny(), kind), `${entry}: ${kind.name}`);
    }
    assert.ok(permits({ allow: [kind.name], deny: [] }, kind), kind.name);
  }
});

test("a prune is a removal for Docker's own clients, too", () => {
  const may = (policy: Parameters<typeof permits>[0], call: string) =>
    permitsProxied(policy, dockerRequest, 'POST', call);
  assert.ok(may(deny(), '/containers/prune') && !may(deny('container.remove'), '/containers/prune'));
  assert.ok(!may(deny('volume.remove'), '/v1.41/volumes/prune') && may(deny('volume.remove'), '/volumes/create'));
});
