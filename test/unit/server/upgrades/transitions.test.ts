/** What a host's upgrade becomes by what its agent says, whatever that is. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { HostUpgradeRow, HostUpgradeState } from '../../../../server/store/host-upgrades.ts';
import { afterHello, afterStatus, hasEnded, takesOffer } from '../../../../server/upgrades/transitions.ts';
import type { Hello } from '../../../../shared/messages/control.ts';
import { UPGRADE_STATES } from '../../../../shared/messages/release.ts';

function row(state: HostUpgradeState): HostUpgradeRow {
  return {
    ...{ hostId: 'h', sequence: 7, from: '0.1.0', to: '0.2.0', state, code: undefined, detail: undefined },
    ...{ rolloutId: undefined, createdBy: 'a', createdAt: 0, offeredAt: 1, changedAt: 1, endedAt: undefined },
  };
}

function hello(change: Partial<Hello>): Hello {
  const facts = { hostname: 'h', os: 'linux', arch: 'x64', docker: { reachable: false } };
  return {
    ...{ versions: [1], agentVersion: '0.1.0', instanceId: 'i', capabilities: ['agent.upgrade'], ...facts },
    ...{ policy: { allow: [], deny: [] }, upgrade: { able: true, sequence: 0 }, ...change },
  };
}

const STATES: readonly HostUpgradeState[] = ['wished', 'offered', ...UPGRADE_STATES];

test('only what was offered is spoken of, and an end stands but for the last word of the host', () => {
  const states = fc.constantFrom(...STATES);
  const told = fc.constantFrom(...UPGRADE_STATES);
  fc.assert(
    fc.property(states, told, fc.integer({ min: 6, max: 8 }), (state, next, sequence) => {
      const outcome = afterStatus(row(state), { sequence, version: '0.2.0', state: next, code: 'C', detail: 'd' });
      if (sequence !== 7 || state === 'wished' || state === next) assert.equal(outcome, undefined);
      else if (hasEnded(state) && !(next === 'done' || next === 'failed')) assert.equal(outcome, undefined);
      else
        assert.deepEqual(
          outcome,
          next === 'done'
            ? { state: next, code: undefined, detail: undefined }
            : { state: next, code: 'C', detail: 'd' },
        );
    }),
  );
});

test('a hello of the version that is wished is the end, whatever was said before', () => {
  for (const state of STATES.filter((each) => !hasEnded(each))) {
    assert.equal(afterHello(row(state), hello({ agentVersion: '0.2.0' }))?.state, 'done', state);
  }
});

test('who cannot, or has tried in vain, is not offered what it was not told of, and is left its word on what it was', () => {
  const unable = hello({ upgrade: { able: false, reason: 'no key', sequence: 0 } });
  assert.deepEqual(afterHello(row('wished'), unable), { state: 'refused', code: 'CONFLICT', detail: 'no key' });
  assert.equal(afterHello(row('wished'), hello({ upgrade: undefined as never }))?.code, 'UNSUPPORTED');
  assert.equal(afterHello(row('wished'), hello({ capabilities: [] }))?.code, 'UNSUPPORTED');
  const tired = hello({ upgrade: { able: true, sequence: 7, refused: [7] } });
  assert.match(afterHello(row('wished'), tired)?.detail ?? '', /in vain/);
  assert.equal(afterHello(row('wished'), hello({})), undefined);
  for (const each of [unable, tired, hello({ capabilities: [] })]) {
    assert.equal(afterHello(row('restarting'), each), undefined);
    assert.equal(takesOffer(row('restarting'), each), false);
  }
  assert.equal(takesOffer(row('restarting'), hello({})), true);
});
