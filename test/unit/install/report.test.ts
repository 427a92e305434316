import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type FirstHost, reportText } from '../../../install/launch/report.ts';
import type { HostView } from '../../../server/cli/api-types.ts';

const REPORT = {
  version: '0.1.0',
  apiUrl: 'https://h:8440',
  agentUrl: 'wss://h:8443/agent',
  caFingerprint: 'sha256:abc',
  tokenFile: "/tmp/it's/admin-token",
};

function view(docker: HostView['docker'], state: HostView['state'] = 'online'): HostView {
  return {
    id: 'i',
    name: 'edge',
    kind: 'native',
    state,
    hostname: 'edge',
    os: 'linux',
    arch: 'x64',
    agentVersion: '0.1.0',
    tags: [],
    docker,
    capabilities: [],
    policy: null,
    createdAt: '2030-01-01T00:00:00Z',
    connectedAt: null,
    lastSeenAt: null,
    certificate: null,
    revokedAt: null,
    revokeReason: null,
    quarantine: null,
    upgrade: null,
  };
}

function text(host: FirstHost | undefined, problem?: string): string {
  return reportText({ ...REPORT, host, ...(problem === undefined ? {} : { problem }) });
}

describe('the report', () => {
  it('says where everything is, what runs here and how the next host gets in', () => {
    const container = { Id: 'a'.repeat(64), Names: ['/web'], Image: 'busybox', State: 'running', Status: 'Up 2 hours' };
    const report = text({ view: view({ reachable: true, version: '20.10.24' }), containers: [container] });
    for (const wanted of Object.values(REPORT).filter((value) => value !== REPORT.tokenFile)) {
      assert.ok(report.includes(wanted), wanted);
    }
    assert.match(report, /the host edge: online, Docker 20\.10\.24\n/);
    assert.match(report, /aaaaaaaaaaaa {2}web +busybox +running +Up 2 hours/);
    assert.match(report, /--api-token-file '\/tmp\/it'\\''s\/admin-token' token create\n/);
    assert.match(report, /must reach https:\/\/h:8440 .*--public-host NAME/);
    assert.match(report, /^ {2}npm run build:agent\n/m);
  });

  it('says why Docker is not reachable, and that a host has no containers', () => {
    const none = text({ view: view({ reachable: false, reason: 'no such socket\u001b[1m' }), containers: undefined });
    assert.match(none, /Docker is not reachable: no such socket/);
    assert.ok(!none.includes('\u001b'));
    assert.match(text({ view: view({ reachable: true }), containers: [] }), /It has no containers yet/);
    assert.match(text({ view: view(null, 'offline'), containers: undefined }), /edge: offline/);
  });

  it('says what could not be asked', () => {
    assert.match(text(undefined, 'there is no valid token'), /there is no valid token/);
  });
});
