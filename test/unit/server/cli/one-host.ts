/** An API of one host, for tests of commands that read and change it. */
import type { TestContext } from 'node:test';
import { fakeApi, type Identity } from './fixtures.ts';

export const HOST = {
  id: 'b0a5ac6c-2a53-4a0c-8b8e-1a3e1c2f5d11',
  name: 'edge-1',
  kind: 'native',
  state: 'online',
  os: 'linux',
  arch: 'x64',
  agentVersion: '0.1.0',
  tags: ['eu', 'web'],
  docker: { reachable: true, version: '20.10.24' },
  capabilities: [],
  createdAt: '2029-12-31T00:00:00Z',
  connectedAt: '2029-12-31T23:00:00Z',
  lastSeenAt: '2029-12-31T23:59:30Z',
  certificate: { serial: 'AB', notAfter: '2030-01-20T00:00:00Z' },
};

/** It lists and shows HOST; what else it answers is the test's to say. */
export async function oneHost(t: TestContext, identity: Identity) {
  const server = await fakeApi(t, identity);
  server.on('GET /api/v1/hosts', () => ({ items: [HOST], nextCursor: null }));
  server.on('GET /api/v1/hosts/edge-1', () => HOST);
  return server;
}
