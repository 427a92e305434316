import assert from 'node:assert/strict';
import { test } from 'node:test';
import { aCertificate, aHost, HOST_IDS, openTestStore, START } from './fixture.ts';

const [A, B, C] = HOST_IDS;

test('what each host said last is listed with the certificates that it may come back with, revoked hosts left out', async (t) => {
  const { store } = await openTestStore(t);
  await store.hosts.insert(aHost(A, 'web'));
  await store.hosts.insert(aHost(B, 'db'));
  await store.hosts.insert(aHost(C, 'gone'));
  await store.certificates.insert({ ...aCertificate('A1', A), issuedAt: START, pem: 'in use' });
  await store.certificates.insert({ ...aCertificate('A2', A), issuedAt: START + 1, pem: 'not used yet' }, 'pending');
  await store.certificates.insert({ ...aCertificate('A3', A), issuedAt: START + 2, pem: 'revoked' });
  await store.certificates.revoke('A3', START, 'lost');
  await store.hostTrust.acknowledge(A, { version: 1, roots: ['x'], at: START });
  await store.hostTrust.acknowledge(A, { version: 2, roots: ['x', 'y'], at: START });
  await store.hosts.markRevoked(C, START, 'sold');
  const used = [
    { serial: 'A1', pem: 'in use' },
    { serial: 'A2', pem: 'not used yet' },
  ];
  assert.deepEqual(await store.hostTrust.list(), [
    { hostId: B, name: 'db', roots: undefined, certificates: [] },
    { hostId: A, name: 'web', roots: ['x', 'y'], certificates: used },
  ]);
});

test('what removed hosts said is forgotten', async (t) => {
  const { store } = await openTestStore(t);
  await store.hosts.insert(aHost(A, 'web'));
  for (const id of [A, B]) await store.hostTrust.acknowledge(id, { version: 1, roots: ['x'], at: START });
  await store.hostTrust.prune();
  const left = await store.db.selectFrom('host_trust').select('host_id').execute();
  assert.deepEqual(left, [{ host_id: A }]);
});
