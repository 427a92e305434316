/** How an agent's status reads for people. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatStatus } from '../../../../agent/identity/status.ts';

const ESCAPES = '\u001b]0;owned\u0007\n\u009b2J';

test('what the server has said drives no terminal', () => {
  const text = formatStatus({
    ...{ enrolled: true, stateDir: '/etc/fairlead-agent', connected: false },
    run: { pid: 1, state: 'waiting', since: '2030-01-01T00:00:00Z', detail: `refused by the server: ${ESCAPES}` },
    host: {
      ...{ id: 'an-id', name: `edge${ESCAPES}`, server: 'https://a', agentUrl: 'wss://a' },
      ...{ caFingerprint: 'sha256:00', enrolledAt: '2030-01-01T00:00:00Z' },
    },
    certificate: { serial: '01', notAfter: '2030-01-01T00:00:00Z', daysLeft: 1, msLeft: 86_400_000 },
  });
  assert.doesNotMatch(text, /[^\P{Cc}\n]/u);
  assert.match(text, /^host +edge�]0;owned���2J \(an-id\)$/m);
  assert.match(text, /^session .*refused by the server: �]0;owned���2J$/m);
});
