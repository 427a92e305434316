/** Tokens by which an agent takes over a host that is there already: the host stays as it is, and one agent at most may. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { agentIdentity } from '../../../../certs/names.ts';
import { readCertificate } from '../../../../certs/pem.ts';
import type { NewHost } from '../../../../server/store/hosts.ts';
import { aHost, HOST_IDS } from '../store/fixture.ts';
import { ADMIN, AGENT_ADDRESS, aRequest, newKey, type Opened, openEnrollment } from './fixture.ts';

const [ID, OTHER] = HOST_IDS;

async function opened(t: TestContext, host: Partial<NewHost> = {}): Promise<Opened> {
  const parts = await openEnrollment(t);
  await parts.store.hosts.insert({ ...aHost(ID, 'nas'), kind: 'hawser-edge', tags: ['lab'], ...host });
  return parts;
}

test('a token gives an agent the identity of the host, and leaves the host as it is', async (t) => {
  const { enrollment, store, active, audit } = await opened(t);
  const before = await store.hosts.get(ID);
  const { token, id, hostName, adopts } = await enrollment.createToken({ adopts: 'NAS' }, ADMIN);
  assert.deepEqual([hostName, adopts], ['nas', ID]);
  const request = await aRequest(token, { name: 'another', tags: ['mine'] });
  const redeemed = await enrollment.redeem(request, AGENT_ADDRESS);
  assert.deepEqual([redeemed.hostId, redeemed.name], [ID, 'nas']);
  assert.equal(agentIdentity(readCertificate(redeemed.certificate))?.hostId, ID);
  assert.deepEqual(await store.hosts.get(ID), before);
  assert.equal((await store.hosts.list({})).items.length, 1);
  const [certificate] = await store.certificates.active(ID);
  assert.ok(certificate && active.has(certificate.serial));
  const row = (await audit.list({})).items.find(({ action }) => action === 'host.enroll');
  assert.deepEqual([row?.target, row?.detail['adopts'], row?.detail['tokenId']], [ID, true, id]);
  // A lost answer can be asked again.
  const again = await enrollment.redeem(request, AGENT_ADDRESS);
  assert.deepEqual([again.repeated, again.certificate], [true, redeemed.certificate]);
});

test('a second token takes the place of the first, and one that expires leaves all as it was', async (t) => {
  const { enrollment, store, clock } = await opened(t);
  const before = await store.hosts.get(ID);
  const first = await enrollment.createToken({ adopts: ID }, ADMIN);
  const second = await enrollment.createToken({ adopts: ID, ttlSeconds: 60 }, ADMIN);
  assert.equal((await store.enrollmentTokens.adopting(ID))?.id, second.id);
  await assert.rejects(enrollment.redeem(await aRequest(first.token), AGENT_ADDRESS), { code: 'TOKEN_INVALID' });
  clock.pass(60_000);
  await assert.rejects(enrollment.redeem(await aRequest(second.token), AGENT_ADDRESS), { code: 'TOKEN_INVALID' });
  assert.deepEqual(await store.hosts.get(ID), before);
  assert.deepEqual(await store.certificates.active(ID), []);
});

test('an agent that enrolls later makes the certificate of an earlier one void', async (t) => {
  const { enrollment, store, cutOff, active } = await opened(t);
  const enroll = async () => {
    const { token } = await enrollment.createToken({ adopts: ID }, ADMIN);
    return await enrollment.redeem(await aRequest(token), AGENT_ADDRESS);
  };
  await enroll();
  const [{ serial = '' } = {}] = await store.certificates.active(ID);
  assert.deepEqual(cutOff, []);
  await enroll();
  assert.deepEqual(
    cutOff.map(({ hostId, serials }) => [hostId, serials]),
    [[ID, [serial]]],
  );
  assert.equal(active.has(serial), false);
  assert.equal((await store.certificates.active(ID)).length, 1);
  assert.equal((await store.hosts.get(ID)).revokedAt, undefined);
});

test('fifty that redeem one token at once get one certificate', async (t) => {
  const { enrollment, store } = await opened(t);
  const { token } = await enrollment.createToken({ adopts: ID }, ADMIN);
  const requests = await Promise.all(Array.from({ length: 50 }, () => aRequest(token)));
  const results = await Promise.allSettled(requests.map((request) => enrollment.redeem(request, AGENT_ADDRESS)));
  assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 1);
  assert.equal((await store.certificates.list({}, { hostId: ID })).items.length, 1);
});

test('to revoke a used token revokes its certificate, unless the host was taken over, or another token was used since', async (t) => {
  const { enrollment, store, cutOff } = await opened(t);
  const enroll = async () => {
    const made = await enrollment.createToken({ adopts: ID }, ADMIN);
    await enrollment.redeem(await aRequest(made.token, { key: newKey() }), AGENT_ADDRESS);
    return made.id;
  };
  const first = await enroll();
  const second = await enroll();
  const listed = async () => (await store.certificates.active(ID)).length;
  await enrollment.revoke(first, ADMIN);
  assert.equal(await listed(), 1);
  await enrollment.revoke(second, ADMIN);
  assert.equal(await listed(), 0);
  assert.match(cutOff.at(-1)?.reason ?? '', /revoked before/);
  assert.equal((await store.hosts.get(ID)).revokedAt, undefined);
  const third = await enroll();
  await store.hosts.setKind(ID, 'native');
  await enrollment.revoke(third, ADMIN);
  assert.equal(await listed(), 1);
});

test('a host that is native, revoked, in quarantine or gone cannot be taken over', async (t) => {
  const { enrollment, store, clock } = await opened(t);
  await store.hosts.insert(aHost(OTHER, 'shed'));
  await assert.rejects(enrollment.createToken({ adopts: 'shed' }, ADMIN), { code: 'CONFLICT', message: /already/ });
  await assert.rejects(enrollment.createToken({ adopts: 'nobody' }, ADMIN), { code: 'HOST_NOT_FOUND' });
  const { token } = await enrollment.createToken({ adopts: ID }, ADMIN);
  const refused = async (why: RegExp) => {
    await assert.rejects(enrollment.createToken({ adopts: ID }, ADMIN), { code: 'CONFLICT', message: why });
    await assert.rejects(enrollment.redeem(await aRequest(token), AGENT_ADDRESS), { code: 'TOKEN_INVALID' });
  };
  await store.hosts.setQuarantine(ID, { at: clock.now(), reason: 'a clone' });
  await refused(/quarantine/);
  await store.hosts.setQuarantine(ID, undefined);
  await store.hosts.setKind(ID, 'native');
  await refused(/already/);
  await store.hosts.setKind(ID, 'hawser-edge');
  await store.hosts.markRevoked(ID, clock.now(), 'sold');
  await refused(/revoked/);
  await store.hosts.delete(ID);
  await assert.rejects(enrollment.redeem(await aRequest(token), AGENT_ADDRESS), { code: 'TOKEN_INVALID' });
  assert.deepEqual(await store.certificates.active(), []);
});
