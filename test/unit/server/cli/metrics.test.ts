/** Tables of what hosts and containers use: what is not known is a dash, and a gap is seen. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MetricsPoint } from '../../../../server/cli/api-types.ts';
import { CONTAINER_USE_COLUMNS, HISTORY_COLUMNS, HOST_USE_COLUMNS, withGaps } from '../../../../server/cli/metrics.ts';
import { table } from '../../../../server/cli/table.ts';

const rows = (text: string) => text.trimEnd().split('\n').slice(1);

test('hosts with a sample, with half of one, and without', () => {
  const latest = { time: '', agentTime: '', ageSeconds: 3.2, uptimeSeconds: 90_000 };
  const memory = { totalBytes: 4 * 2 ** 30, usedBytes: 2 ** 30, availableBytes: 3 * 2 ** 30 };
  const cpu = { percent: 12.34, user: 1, system: 1, iowait: 0, steal: 0, cores: [1, 2] };
  const text = table(
    [
      { host: 'a', hostId: '1', state: 'online' as const, metrics: { ...latest, memory, cpu } },
      { host: 'b', hostId: '2', state: 'offline' as const, metrics: null },
    ],
    HOST_USE_COLUMNS,
  );
  const [a = '', b = ''] = rows(text).map((row) => row.replace(/ {2,}/g, '|'));
  assert.equal(a, 'a|online|12.3 %|2|-|1.0 GiB of 4.0 GiB (25 %)|-|-|-|-|1d|3s');
  assert.match(b, /^b\|offline\|-(\|-)+$/);
});

test('a history shows average and most, and says where there are no samples', () => {
  const figure = { avg: 2 ** 20, min: 0, max: 2 ** 21 };
  const point = (minute: number): MetricsPoint => ({
    time: new Date(minute * 60_000).toISOString(),
    samples: 2,
    swap: { totalBytes: figure, usedBytes: figure },
  });
  const lines = withGaps([point(1), point(2), point(7)], 60);
  assert.deepEqual(
    lines.map(({ time, samples }) => [Date.parse(time) / 60_000, samples]),
    [
      [1, 2],
      [2, 2],
      [3, undefined],
      [7, 2],
    ],
  );
  const [first = '', , gap = ''] = rows(table(lines, HISTORY_COLUMNS)).map((row) => row.replace(/ {2,}/g, '|'));
  assert.equal(first, '1970-01-01T00:01:00Z|-|-|-|1.0 MiB / 2.0 MiB|-|-|-|2');
  assert.match(gap, /^1970-01-01T00:03:00Z(\|-)+\|no samples$/);
  assert.deepEqual(withGaps([], 60), []);
});

test('a container without figures, whose name would drive the terminal', () => {
  const text = table([{ id: 'sha256:0123456789abcdef', name: 'x\x1b[2J' }], CONTAINER_USE_COLUMNS);
  assert.match(rows(text)[0] ?? '', /^0123456789ab +x.\[2J +-/);
  assert.ok(!text.includes('\x1b'));
});
