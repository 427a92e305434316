/** Figures of containers, from what Docker says of both sorts of cgroups, and from what it should not say. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { figuresOf } from '../../../../agent/metrics/container-use.ts';
import { Places } from '../../../../agent/metrics/places.ts';
import { ContainerUse } from '../../../../shared/messages/metrics.ts';
import { fits } from '../../../../shared/validate.ts';

const cpu = (total_usage: number, system_cpu_usage: number) => ({
  cpu_stats: { cpu_usage: { total_usage }, system_cpu_usage, online_cpus: 4 },
});

test('as docker stats counts', () => {
  const after = {
    ...cpu(600_000_000, 4_000_000_000),
    memory_stats: { usage: 5000, limit: 9000, stats: { inactive_file: 1000 } },
    networks: { eth0: { rx_bytes: 10, tx_bytes: 20 }, eth1: { rx_bytes: 1, tx_bytes: 2 } },
    blkio_stats: {
      io_service_bytes_recursive: [
        { op: 'Read', value: 100 },
        { op: 'write', value: 7 },
        { op: 'Total', value: 107 },
        { op: 'read', value: 1 },
      ],
    },
    pids_stats: { current: 3 },
  };
  assert.deepEqual(figuresOf(cpu(100_000_000, 2_000_000_000), after), {
    cpuPercent: 100,
    memory: { usedBytes: 4000, limitBytes: 9000 },
    network: { receivedBytes: 11, sentBytes: 22 },
    blockIo: { readBytes: 101, writtenBytes: 7 },
    pids: 3,
  });
});

test('the cache of the older cgroups, and one that is larger than the use', () => {
  const memory = (stats: object) =>
    figuresOf({}, { memory_stats: { usage: 100, limit: 200, stats } }).memory?.usedBytes;
  assert.equal(memory({ total_inactive_file: 30, inactive_file: 10 }), 70);
  assert.equal(memory({ inactive_file: 300 }), 100);
});

test('what is not told is left out, and counters that fell tell nothing', () => {
  assert.deepEqual(figuresOf({}, {}), {});
  assert.deepEqual(figuresOf(cpu(5, 10), cpu(4, 20)), {});
  assert.deepEqual(figuresOf(cpu(5, 10), cpu(6, 10)), {});
  assert.deepEqual(figuresOf({}, { networks: {}, blkio_stats: { io_service_bytes_recursive: null } }), {});
});

test('what adds up to more than the wire takes stays at the most that it takes', () => {
  const most = Number.MAX_SAFE_INTEGER;
  const networks = { eth0: { rx_bytes: most, tx_bytes: 1 }, eth1: { rx_bytes: 2, tx_bytes: most } };
  const entries = ['read', 'write', 'read', 'write'].map((op) => ({ op, value: most }));
  assert.deepEqual(figuresOf({}, { networks, blkio_stats: { io_service_bytes_recursive: entries } }), {
    network: { receivedBytes: most, sentBytes: most },
    blockIo: { readBytes: most, writtenBytes: most },
  });
});

test('whatever Docker says, the figures fit the wire', () => {
  const anything = fc.anything({
    maxDepth: 4,
    key: fc.constantFrom('usage', 'limit', 'stats', 'current', 'eth0', 'rx_bytes', 'op', 'value', 'toString'),
  });
  const sample = fc.record(
    {
      cpu_stats: anything,
      memory_stats: anything,
      networks: anything,
      blkio_stats: fc.record({ io_service_bytes_recursive: fc.oneof(anything, fc.array(anything)) }),
      pids_stats: anything,
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(sample, sample, (before, after) => {
      assert.ok(fits(ContainerUse, { id: 'a', name: '', ...figuresOf(before, after) }));
    }),
  );
});

test('places are given in turn, and one who leaves the queue takes none', async () => {
  const places = new Places(1);
  const staying = new AbortController().signal;
  const giveBack = await places.take(staying);
  const leaving = new AbortController();
  const order: string[] = [];
  const left = places.take(leaving.signal).then(
    () => order.push('left'),
    () => order.push('gone'),
  );
  const next = places.take(staying).then((back) => {
    order.push('next');
    return back;
  });
  leaving.abort(new Error('gone'));
  await left;
  giveBack();
  giveBack();
  const back = await next;
  assert.deepEqual(order, ['gone', 'next']);
  back();
  (await places.take(staying))();
  await assert.rejects(places.take(leaving.signal), /gone/);
});
