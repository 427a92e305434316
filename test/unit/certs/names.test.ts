import assert from 'node:assert/strict';
import { randomUUID, X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import { agentIdentity, agentUri, isUuid, parseAgentUri } from '../../../certs/names.ts';
import { spkiOf } from '../../../certs/pin.ts';
import { systemClock } from '../../../shared/clock.ts';
import { p256, testCa } from './fixtures.ts';

const installationId = randomUUID();
const hostId = randomUUID();

test('an agent URI gives back the ids it was made of', () => {
  assert.deepEqual(parseAgentUri(agentUri(installationId, hostId)), { installationId, hostId });
});

test('anything but an exact agent URI is none', () => {
  const uri = agentUri(installationId, hostId);
  const others = [
    '',
    ` ${uri}`,
    `${uri}\n`,
    `${uri}/`,
    `${uri}?x`,
    uri.toUpperCase(),
    uri.replace('fairlead:', 'https:'),
    uri.replace('/agent/', '/server/'),
    uri.replace(hostId, 'x'),
    `${uri}, URI:${uri}`,
  ];
  for (const other of others) assert.equal(parseAgentUri(other), undefined, other);
});

test('a UUID is one in lower case only', () => {
  assert.equal(isUuid(hostId), true);
  assert.equal(isUuid('A0000000-0000-4000-8000-000000000000'), false);
  assert.equal(isUuid(`${hostId} `), false);
});

test('an identity is read from an agent certificate and from no other', async () => {
  const { ca, installationId } = await testCa();
  const spki = spkiOf(p256().publicKey);
  const agent = await ca.issueAgent({ spki, hostId, installationId, clock: systemClock });
  const server = await ca.issueServer({ publicHosts: ['localhost'], clock: systemClock });
  assert.deepEqual(agentIdentity(new X509Certificate(agent.certPem)), { installationId, hostId });
  assert.equal(agentIdentity(new X509Certificate(server.certPem)), undefined);
  assert.equal(agentIdentity(new X509Certificate(ca.certPem)), undefined);
});
