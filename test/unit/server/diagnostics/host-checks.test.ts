/** What is said of hosts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { hostChecks } from '../../../../server/diagnostics/host-checks.ts';
import type { SeenHost } from '../../../../server/diagnostics/parts.ts';
import { VERSION } from '../../../../shared/version.ts';

const NOW = Date.UTC(2030, 0, 10);
const DAY_MS = 24 * 60 * 60_000;

function host(name: string, more: Partial<SeenHost> = {}): SeenHost {
  const fine = { state: 'online', kind: 'native', agentVersion: VERSION, capabilities: ['container.list'] };
  const certificate = { serial: 'AA', notAfter: NOW + 20 * DAY_MS };
  return { name, ...fine, docker: { reachable: true }, certificate, lastSeenAt: NOW, ...more } as unknown as SeenHost;
}

function found(...hosts: SeenHost[]) {
  const checks = hostChecks(hosts, NOW, 30 * DAY_MS);
  return checks.filter(({ level }) => level !== 'ok').map(({ id, summary }) => `${id}: ${summary}`);
}

test('hosts that are well, and none at all, are nothing to worry about', () => {
  assert.deepEqual(found(), []);
  assert.deepEqual(found(host('a'), host('b', { state: 'pending' }), host('c', { state: 'offline' })), []);
});

test('each of these is said by the name of its host', () => {
  const away = { state: 'offline', lastSeenAt: NOW - 3 * DAY_MS } as const;
  assert.match(found(host('shed', away))[0] ?? '', /^hosts\.presence: 0 of 1 host connected; .* shed \(3 d\)$/);
  const cases: [Partial<SeenHost>, RegExp][] = [
    [{ quarantine: { at: NOW, reason: 'twice' } }, /^hosts\.quarantine: .*shed/],
    [{ state: 'offline', certificate: { serial: 'A', notAfter: NOW - 1 } }, /^hosts\.certificates: .*shed/],
    [{ certificate: { serial: 'A', notAfter: NOW + 2 * DAY_MS } }, /^hosts\.renewals: .*shed \(2030-01-12/],
    [{ docker: { reachable: false, reason: 'EACCES' } }, /^hosts\.docker: .*shed \(EACCES\)/],
    [{ agentVersion: '0.0.1' }, /^hosts\.versions: agents are older .*shed \(0\.0\.1\)/],
    [{ agentVersion: '99.0.0' }, /^hosts\.versions: agents are newer .*shed \(99\.0\.0\)/],
    [{ clockSkewMs: -600_000 }, /^hosts\.clocks: .*shed \(10 min behind\)/],
    [{ capabilities: [] }, /^hosts\.policies: .*shed/],
  ];
  for (const [more, says] of cases) {
    const said = found(host('shed', more), host('other'));
    assert.equal(said.length, 1, String(said));
    assert.match(said[0] ?? '', says);
    assert.doesNotMatch(said[0] ?? '', /other/);
  }
});

test('a revoked host is none that is missed, and agents of Hawser have versions of their own', () => {
  const revoked = {
    state: 'revoked',
    certificate: { serial: 'A', notAfter: 1 },
    quarantine: { at: 1, reason: '' },
  } as const;
  assert.deepEqual(
    found(host('gone', revoked), host('nas', { kind: 'hawser-edge', agentVersion: '0.2.45', capabilities: [] })),
    [],
  );
});
