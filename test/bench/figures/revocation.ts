/** A thousand live sessions that one call revokes: when the last is gone, and what that does to the server's event loop. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Api } from '../../support/http.ts';
import type { Row } from '../table.ts';
import { startFleet } from './fleet.ts';

const SESSIONS = 1_000;
const GONE_MS = 1_000;
const LOOP_MS = 50;
/** Lets the server come to rest after the rush. */
const SETTLE_MS = 3_000;

export async function revocation(): Promise<Row[]> {
  const undo: (() => unknown)[] = [];
  try {
    const fleet = await startFleet({ after: (fn) => void undo.unshift(fn) }, SESSIONS);
    await fleet.connect(SESSIONS);
    await sleep(SETTLE_MS);
    const api = new Api(await fleet.server.call('access'));
    await fleet.server.call('loopDelay');
    const before = await fleet.server.call('load');
    const gone = fleet.allGone().then(() => performance.now());
    const hosts = Array.from({ length: SESSIONS }, (_, i) => `fleet-${i}`);
    const from = performance.now();
    const answer = await api.post('/api/v1/revocations', { hosts, reason: 'measured' });
    const answeredMs = performance.now() - from;
    if (answer.status !== 200) throw new Error(`${answer.status} ${answer.text}`);
    if (answer.body.hosts.length !== SESSIONS) throw new Error(`${answer.body.hosts.length} hosts were revoked`);
    const goneMs = (await gone) - from;
    const { p99, max } = await fleet.server.call('loopDelay');
    const after = await fleet.server.call('load');
    const what = `${SESSIONS} live sessions revoked by one call`;
    const atMost = (limit: number, row: Pick<Row, 'figure' | 'value' | 'unit'>): Row => ({
      ...row,
      target: `≤ ${limit} ${row.unit}`,
      held: row.value <= limit,
    });
    return [
      atMost(GONE_MS, { figure: `${what}: the last gone after the call`, value: goneMs, unit: 'ms' }),
      atMost(LOOP_MS, { figure: `${what}: loop delay p99`, value: p99, unit: 'ms' }),
      { figure: `${what}: loop delay at most`, value: max, unit: 'ms' },
      { figure: `${what}: answered`, value: answeredMs, unit: 'ms' },
      { figure: `${what}: the server's processor time`, value: after.cpuMs - before.cpuMs, unit: 'ms' },
    ];
  } finally {
    for (const fn of undo) await fn();
  }
}
