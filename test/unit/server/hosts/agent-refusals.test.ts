/** Refusals at the agents' port leave rows, and a restart loop does not fill the log with them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import type { AuditEntry } from '../../../../server/audit/audit.ts';
import { AgentRefusals } from '../../../../server/hosts/agent-refusals.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import { FakeClock } from '../../../support/fake-clock.ts';

const HOUR_MS = 3_600_000;
const error = new FairleadError('CERT_REVOKED', "this host's certificate was revoked");

function fixture() {
  const clock = new FakeClock();
  const rows: AuditEntry[] = [];
  const refusals = new AgentRefusals({
    audit: { recordOrLog: async (row) => void rows.push(row) },
    clock,
    hostName: async (id) => {
      if (id === 'gone') throw new FairleadError('HOST_NOT_FOUND', 'no such host');
      return `name of ${id}`;
    },
  });
  return { clock, rows, refusals };
}

test('a row says who, from where and why, as far as it is known', async () => {
  const { rows, refusals } = fixture();
  refusals.report({ error, address: '192.0.2.1', hostId: 'h1', serial: 'AB' });
  refusals.report({ error, address: '', hostId: 'gone', serial: 'AC' });
  refusals.report({ error: new FairleadError('CERT_UNKNOWN', 'of another CA'), address: '192.0.2.2' });
  await setImmediate();
  const detail = { code: 'CERT_REVOKED', reason: error.message, unreportedBefore: 0 };
  const common = { action: 'host.connect', result: 'refused' };
  assert.deepEqual(
    rows.toSorted((one, other) => (one.actor > other.actor ? -1 : 1)),
    [
      { ...common, actor: 'host:name of h1', address: '192.0.2.1', target: 'h1', detail: { ...detail, serial: 'AB' } },
      { ...common, actor: 'host:gone', address: undefined, target: 'gone', detail: { ...detail, serial: 'AC' } },
      {
        ...{ ...common, actor: 'anonymous', address: '192.0.2.2', target: undefined },
        detail: { code: 'CERT_UNKNOWN', reason: 'of another CA', serial: undefined, unreportedBefore: 0 },
      },
    ],
  );
});

test('a host that comes back every second has a few rows, then six an hour that count the rest', async () => {
  const { rows, refusals, clock } = fixture();
  for (let second = 0; second < 3600; second++) {
    refusals.report({ error, address: '192.0.2.1', hostId: 'looping' });
    clock.advance(1000);
  }
  await setImmediate();
  assert.ok(rows.length >= 6 && rows.length <= 9, String(rows.length));
  assert.equal(rows.at(-1)?.detail?.['unreportedBefore'], 599);
  // Nobody else is held up by it.
  refusals.report({ error, address: '192.0.2.1', hostId: 'other' });
  await setImmediate();
  assert.equal(rows.at(-1)?.target, 'other');
});

test('a flood from everywhere is bounded as a whole, and what is left out is counted', async () => {
  const { rows, refusals, clock } = fixture();
  for (let i = 0; i < 5000; i++) refusals.report({ error, address: `2001:db8::${i.toString(16)}` });
  await setImmediate();
  assert.equal(rows.length, 120);
  clock.advance(60_000);
  await setImmediate();
  assert.deepEqual(rows.at(-1)?.detail, { suppressed: 4880 });
  assert.equal(rows.length, 121);
  clock.advance(HOUR_MS);
  for (let i = 0; i < 200; i++) refusals.report({ error, address: `192.0.2.${i}` });
  await refusals.close();
  await setImmediate();
  assert.equal(rows.filter(({ actor }) => actor === 'system').length, 2);
  assert.equal(clock.pendingTimers, 0);
});
