import assert from 'node:assert/strict';
import { test } from 'node:test';
import { permits } from '../../../../agent/policy/policy.ts';
import { isPreset } from '../../../../agent/policy/presets.ts';
import { STREAM_KINDS } from '../../../../shared/messages/index.ts';

/** Every kind that a server may open, under the least preset that has it: where a new one belongs is decided here. */
const LEAST: Record<string, string[]> = {
  'read-only': [
    'host.info',
    'host.throughput',
    'host.events',
    'host.metrics',
    'host.stats',
    'container.list',
    'container.inspect',
    'container.top',
    'container.stats',
    'container.log.stream',
    ...['image', 'network', 'volume'].flatMap((family) => [`${family}.list`, `${family}.inspect`]),
    ...['list', 'logs', 'status'].map((verb) => `stack.${verb}`),
    // Each call that they carry is judged by itself.
    'docker.request',
    'docker.upgrade',
  ],
  operate: [
    'container.start',
    'container.stop',
    'container.restart',
    'container.kill',
    'container.pause',
    'container.unpause',
    ...['start', 'stop', 'restart'].map((verb) => `stack.${verb}`),
  ],
  full: [
    'container.remove',
    'container.exec.open',
    ...['create', 'rename', 'prune'].map((verb) => `container.${verb}`),
    ...['remove', 'prune', 'tag'].map((verb) => `image.${verb}`),
    ...['create', 'remove', 'connect', 'disconnect', 'prune'].map((verb) => `network.${verb}`),
    ...['create', 'remove', 'prune'].map((verb) => `volume.${verb}`),
    ...['exec.run', 'attach', 'archive.get', 'archive.put'].map((verb) => `container.${verb}`),
    ...['pull', 'save', 'load'].map((verb) => `image.${verb}`),
    ...['deploy', 'remove', 'pull', 'scale'].map((verb) => `stack.${verb}`),
    'volume.browse',
    'volume.export',
    'volume.import',
    'volume.transfer.send',
    'volume.transfer.prepare',
    'volume.transfer.receive',
    'volume.transfer.apply',
    'volume.transfer.discard',
  ],
};

/** What no preset has: the owner of a host must name it. */
const NAMED_ONLY = ['tcp.open'];

test('each preset has exactly what stands here, and what the one before it has', () => {
  const kinds = STREAM_KINDS.filter(({ from }) => from !== 'agent');
  const expected: string[] = [];
  for (const [preset, more] of Object.entries(LEAST)) {
    expected.push(...more);
    assert.ok(isPreset(preset));
    const served = kinds.filter((kind) => permits({ allow: [preset], deny: [] }, kind)).map(({ name }) => name);
    assert.deepEqual(served.toSorted(), expected.toSorted(), `${preset}: decide where a new kind belongs`);
  }
  const named = kinds.filter(({ name }) => !expected.includes(name)).map(({ name }) => name);
  assert.deepEqual(named, NAMED_ONLY);
});

test('a kind that nobody thought of is in no more than its class says', () => {
  const unknown = (policy: 'read' | 'change' | 'exec') => ({ name: 'container.explode', policy });
  const has = (preset: string, kind: ReturnType<typeof unknown>) => permits({ allow: [preset], deny: [] }, kind);
  assert.ok(has('read-only', unknown('read')) && has('operate', unknown('read')));
  for (const policy of ['change', 'exec'] as const) {
    assert.ok(!has('read-only', unknown(policy)) && !has('operate', unknown(policy)) && has('full', unknown(policy)));
  }
});
