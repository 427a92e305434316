import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ControlContext } from '../../../../server/mesh/agent-control.ts';
import { sendTrust, takeTrustAck } from '../../../../server/mesh/trust-news.ts';
import type { TrustAck } from '../../../../shared/messages/trust.ts';

function fixture(capabilities: readonly string[] = ['trust.update']) {
  const sent: unknown[] = [];
  const stored: TrustAck[] = [];
  const logged: unknown[] = [];
  let failing = false;
  const link = {
    hostId: 'h1',
    describe: () => ({ capabilities }),
    session: { sendControl: (_kind: unknown, value: unknown) => void sent.push(value) },
  } as unknown as ControlContext['link'];
  const trust = {
    current: () => ({ version: 7, roots: ['PEM'], endorsements: [] }),
    acknowledged: async (_hostId: string, ack: TrustAck) => {
      if (failing) throw new Error('no disk');
      stored.push(ack);
    },
  };
  const deps = { trust, log: { warn: (line: unknown) => void logged.push(line) } };
  const context = { link, deps } as unknown as ControlContext;
  const fail = () => {
    failing = true;
  };
  return { link, trust, context, sent, stored, logged, fail };
}

const ack = (version: number): TrustAck => ({ version, roots: ['sha256:00'] });

test('only an agent that understands is told', () => {
  const old = fixture(['container.list']);
  sendTrust(old.link, old.trust);
  assert.deepEqual(old.sent, []);
  const one = fixture();
  sendTrust(one.link, undefined);
  assert.deepEqual(one.sent, []);
  sendTrust(one.link, one.trust);
  assert.deepEqual(one.sent, [{ version: 7, roots: ['PEM'], endorsements: [] }]);
});

test('an answer counts once, and for what was asked', async () => {
  const { link, trust, context, stored } = fixture();
  await takeTrustAck(context, ack(7));
  assert.deepEqual(stored, []);
  sendTrust(link, trust);
  await takeTrustAck(context, ack(6));
  assert.deepEqual(stored, []);
  for (let i = 0; i < 3; i++) await takeTrustAck(context, ack(7));
  assert.deepEqual(stored, [ack(7)]);
});

test('an answer that cannot be stored is told in the log', async () => {
  const { link, trust, context, logged, fail } = fixture();
  fail();
  sendTrust(link, trust);
  await takeTrustAck(context, ack(7));
  assert.equal(logged.length, 1);
});
