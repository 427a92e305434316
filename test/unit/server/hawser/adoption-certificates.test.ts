/** Which certificate makes an agent the one that may take a host of Hawser over. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { pino } from 'pino';
import { Adoption } from '../../../../server/hawser/adoption.ts';
import type { HostLink } from '../../../../server/hosts/host-link.ts';
import { Hosts } from '../../../../server/hosts/hosts.ts';
import { HostRegistry } from '../../../../server/hosts/registry.ts';
import { Quarantine } from '../../../../server/renewal/quarantine.ts';
import { waitFor } from '../../../support/wait.ts';
import { ADMIN, AGENT_ADDRESS, aRequest, openEnrollment } from '../enrollment/fixture.ts';
import { fakeLink } from '../hosts/fake-link.ts';
import { aCertificate, aHost, HOST_IDS } from '../store/fixture.ts';

const [ID] = HOST_IDS;

async function opened(t: TestContext) {
  const parts = await openEnrollment(t);
  const { store, audit, clock, enrollment, active } = parts;
  await store.hosts.insert({ ...aHost(ID, 'nas'), kind: 'hawser-standard' });
  await store.hawserStandard.put({ hostId: ID, settings: '{}', secrets: 'sealed', changedBy: 'ann', changedAt: 1 });
  const registry = new HostRegistry();
  const adoption = new Adoption({
    ...{ store, audit, clock, registry, enrollment },
    log: { info: () => undefined, warn: () => undefined, error: (line: unknown) => assert.fail(String(line)) },
    tokens: { announceEnd: () => undefined },
    cutOff: (_hostId, serials) => {
      for (const serial of serials) active.remove(serial);
    },
    stopDialling: () => undefined,
  });
  t.after(() => adoption.close());
  const hosts = new Hosts({ store, registry, clock, audit, forget: () => undefined, disconnect: () => undefined });
  const quarantine = new Quarantine({
    ...{ store, audit, clock, active, log: pino({ level: 'silent' }) },
    disconnect: () => undefined,
    otherwise: (serial) => hosts.refusal(serial),
  });
  /** An agent enrolls. @returns the serial that it got, and the id of the token that it used */
  const enroll = async () => {
    const { token, id } = await adoption.offer('nas', {}, ADMIN);
    await enrollment.redeem(await aRequest(token), AGENT_ADDRESS);
    const [{ serial = '' } = {}] = await store.certificates.active(ID);
    return { serial, tokenId: id };
  };
  const kind = async () => (await store.hosts.get(ID)).kind;
  return { ...parts, adoption, registry, quarantine, enroll, kind };
}

/** An agent that works; `isAsked` resolves when its trial has begun, which goes on when `answer` was called. */
function newcomer() {
  const asked = Promise.withResolvers<void>();
  const answered = Promise.withResolvers<void>();
  const link = Object.assign(fakeLink(ID), {
    ping: async () => {
      asked.resolve();
      await answered.promise;
      return 1;
    },
    call: async () => ({ docker: { reachable: true }, dockerInfo: { ID: 'AAAA:BBBB' } }),
  }) as unknown as HostLink;
  return { link, isAsked: asked.promise, answer: answered.resolve };
}

test('an agent whose certificate was just made void by a newer one does not take the host over', async (t) => {
  const { adoption, enrollment, enroll, kind, store, registry, active } = await opened(t);
  const { serial: first } = await enroll();
  const late = newcomer();
  adoption.arrived(late.link, () => [first]);
  await late.isAsked;
  const { token } = await adoption.offer('nas', {}, ADMIN);
  const held = Promise.withResolvers<void>();
  const append = store.journal.append.bind(store.journal);
  const journal = t.mock.method(store.journal, 'append', async (...args: Parameters<typeof append>) => {
    // What comes after the redeem waits for nothing.
    journal.mock.restore();
    await held.promise;
    await append(...args);
  });
  const redeemed = enrollment.redeem(await aRequest(token), AGENT_ADDRESS);
  await waitFor('the newer certificate', () => journal.mock.callCount() === 1);
  assert.ok(active.has(first), 'it is not cut off yet');
  late.answer();
  await adoption.close();
  assert.equal(await kind(), 'hawser-standard');
  assert.notEqual(await store.hawserStandard.find(ID), undefined);
  assert.equal(registry.link(ID), undefined);
  held.resolve();
  await redeemed;
  assert.equal(active.has(first), false);
});

test('an agent that renews its certificate while it is tried takes the host over by the new one', async (t) => {
  const { adoption, enroll, kind, store, registry, clock } = await opened(t);
  const { serial } = await enroll();
  const agent = newcomer();
  const serials = [serial];
  adoption.arrived(agent.link, () => serials);
  await agent.isAsked;
  await store.certificates.insert(aCertificate('AB2', ID), 'pending');
  serials.push('AB2');
  await store.certificates.activate('AB2', clock.now());
  agent.answer();
  await waitFor('the new agent to serve', () => registry.link(ID) === agent.link);
  assert.equal(await kind(), 'native');
});

test('an agent whose host is put into quarantine while it is tried does not take it over', async (t) => {
  const { adoption, enroll, kind, store, clock } = await opened(t);
  const { serial } = await enroll();
  const agent = newcomer();
  adoption.arrived(agent.link, () => [serial]);
  await agent.isAsked;
  await store.hosts.setQuarantine(ID, { at: clock.now(), reason: 'a clone' });
  agent.answer();
  await adoption.close();
  assert.equal(await kind(), 'hawser-standard');
});

test('what was handed out can be taken back in quarantine, and does not come back when that ends', async (t) => {
  const { adoption, enrollment, enroll, quarantine, store, clock, active } = await opened(t);
  const ways: readonly ((tokenId: string) => Promise<void>)[] = [
    () => adoption.cancel('nas', ADMIN),
    (tokenId) => enrollment.revoke(tokenId, ADMIN),
  ];
  for (const takeBack of ways) {
    const { serial: before } = await enroll();
    // A renewal, and a copy of what it made void.
    const serial = `${before}AB`;
    await store.certificates.insert(aCertificate(serial, ID), 'pending');
    await store.certificates.activate(serial, clock.now());
    assert.equal((await quarantine.refusal(before, AGENT_ADDRESS)).code, 'QUARANTINED');
    assert.equal((await adoption.look('nas')).state, 'enrolled', 'a release would let it in');
    await takeBack((await adoption.look('nas')).tokenId ?? '');
    assert.equal((await adoption.look('nas')).state, 'none');
    await quarantine.release('nas', ADMIN);
    for (const gone of [before, serial]) {
      assert.equal(active.has(gone), false);
      assert.equal((await quarantine.refusal(gone, AGENT_ADDRESS)).code, 'CERT_REVOKED');
    }
  }
  await assert.rejects(adoption.cancel('nas', ADMIN), { code: 'NOT_FOUND' });
});
