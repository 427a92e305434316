/** A host of Hawser and the agent that takes it over: who serves it when, and what is left if that fails. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { Adoption } from '../../../../server/hawser/adoption.ts';
import type { HostLink } from '../../../../server/hosts/host-link.ts';
import { Hosts } from '../../../../server/hosts/hosts.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import { containerList } from '../../../../shared/messages/container.ts';
import { waitFor } from '../../../support/wait.ts';
import { type FakeLink, fakeLink } from '../hosts/fake-link.ts';
import { aCertificate } from '../store/fixture.ts';
import type { FakeSocket } from './fake-socket.ts';
import { ADMIN, openEdge } from './fixture.ts';

const ENGINE = 'AAAA:BBBB';
const AGAIN_MS = 10_000;
/** Of the certificate that `enroll` inserts first. */
const serials = () => ['AB1'];

async function opened(t: TestContext) {
  const parts = await openEdge(t);
  const { store, audit, clock, registry, tokens, connect, edge } = parts;
  const cutOff: string[] = [];
  const asked: string[] = [];
  const stopped: string[] = [];
  const make = (): Adoption => {
    const adoption = new Adoption({
      ...{ store, audit, clock, registry, tokens },
      log: { info: () => undefined, warn: () => undefined, error: (line: unknown) => assert.fail(String(line)) },
      enrollment: {
        createToken: async ({ adopts = '' }) => {
          asked.push(adopts);
          const id = `t${asked.length}`;
          const expiresAt = clock.now() + 3_600_000;
          const row = {
            id,
            secretHash: Buffer.alloc(32),
            hostName: 'nas',
            adopts,
            tags: [],
            createdBy: 'ann',
            name: '',
          };
          await store.enrollmentTokens.insert({ ...row, createdAt: clock.now(), expiresAt });
          const view = { ...row, state: 'pending' as const, createdAt: clock.now(), expiresAt, token: 'fle1.x' };
          return { ...view, revokedAt: undefined, usedAt: undefined, hostId: undefined };
        },
      },
      cutOff: (_hostId, serials) => void cutOff.push(...serials),
      stopDialling: (hostId) => void stopped.push(hostId),
    });
    t.after(() => adoption.close());
    return adoption;
  };
  const adoption = make();
  const { token, id: tokenId } = await tokens.create({ name: 'nas' }, ADMIN);
  const agent = await connect(token);
  const { id } = await store.hosts.get('nas');
  const enroll = (n = 1) => store.certificates.insert(aCertificate(`AB${n}`, id));
  return { ...parts, adoption, make, agent, id, token, tokenId, enroll, cutOff, asked, stopped, edge };
}

/** What the old agent answers to each question for Docker's facts. */
function answerInfo(agent: FakeSocket, engine: string): void {
  const answered = new Set<string>();
  agent.on('sent', () => {
    for (const { requestId, path } of agent.ofType('request')) {
      if (answered.has(requestId) || path !== '/info') continue;
      answered.add(requestId);
      const body = JSON.stringify({ ID: engine });
      queueMicrotask(() => agent.say({ type: 'response', requestId, statusCode: 200, body }));
    }
  });
}

interface Newcomer extends FakeLink {
  /** Null: it does not reach Docker. */
  engine: string | FairleadError | null;
  tried: number;
}

function newcomer(hostId: string, engine: Newcomer['engine'] = ENGINE): Newcomer {
  const fake = fakeLink(hostId, 'native');
  const link: Newcomer = Object.assign(Object.create(fake) as FakeLink, {
    engine,
    tried: 0,
    ping: async () => 1,
    call: async () => {
      link.tried++;
      if (link.engine instanceof FairleadError) throw link.engine;
      const docker = { reachable: link.engine !== null, reason: 'no socket' };
      return { docker, ...(link.engine === null ? {} : { dockerInfo: { ID: link.engine } }) };
    },
  }) as unknown as Newcomer;
  return link;
}

const kindOf = async ({ store, id }: Pick<Awaited<ReturnType<typeof opened>>, 'store' | 'id'>) =>
  (await store.hosts.get(id)).kind;

test('the new agent serves the host once it works, and the tokens of the old one end with its session', async (t) => {
  const parts = await opened(t);
  const { adoption, agent, id, registry, store, tokenId, enroll, audit, connect, token } = parts;
  answerInfo(agent, ENGINE);
  const seen: string[] = [];
  registry.subscribe({ online: () => seen.push('online'), offline: () => seen.push('offline') });
  assert.equal(await adoption.isUnderWay(id), true);
  await enroll();
  const old = registry.link(id) as HostLink;
  const pending = old.call(containerList, {});
  pending.catch(() => undefined);
  const link = newcomer(id);
  adoption.arrived(link, serials);
  await waitFor('the new agent to serve', () => registry.link(id) === link);
  assert.equal(await kindOf(parts), 'native');
  assert.notEqual((await store.hawserTokens.find(tokenId))?.revokedAt, undefined);
  assert.match(agent.ofType('error').at(-1).message, /fairlead-agent has taken this host over/);
  assert.notEqual(agent.closedWith, undefined);
  await assert.rejects(pending, { code: 'STREAM_INTERRUPTED' });
  await turn();
  assert.deepEqual(seen, ['online']);
  const rows = (await audit.list({ limit: 50 })).items.filter(({ action }) => action === 'host.adopt');
  assert.deepEqual(
    rows.map(({ result, target, detail }) => [result, target, detail['before'], detail['tokenIds']]),
    [['ok', id, 'hawser-edge', [tokenId]]],
  );
  // The old agent comes back for ever, and gets no further.
  assert.equal((await connect(token)).ofType('error')[0].code, 'TOKEN_INVALID');
  assert.equal(registry.link(id), link);
  assert.equal((await adoption.look('nas')).state, 'none');
  assert.equal(await adoption.isUnderWay(id), false);
});

test('until it works the old agent goes on serving, and comes and goes as it likes', async (t) => {
  const parts = await opened(t);
  const { adoption, agent, id, registry, enroll, clock, store, tokenId, connect, token, audit } = parts;
  answerInfo(agent, ENGINE);
  await enroll();
  const link = newcomer(id, null);
  adoption.arrived(link, serials);
  await waitFor('the first trial', async () => (await adoption.look('nas')).why !== undefined);
  assert.match((await adoption.look('nas')).why ?? '', /no socket/);
  const old = registry.link(id);
  assert.ok(old !== undefined && old !== link);
  agent.terminate();
  await turn();
  assert.equal(registry.link(id), undefined);
  link.engine = new FairleadError('STREAM_INTERRUPTED', 'cut');
  await waitFor('the next trial', () => {
    clock.advance(AGAIN_MS);
    return link.tried === 2;
  });
  const back = await connect(token);
  assert.equal(back.ofType('welcome').length, 1);
  assert.equal(link.closedWith, undefined);
  assert.equal(await kindOf(parts), 'hawser-edge');
  assert.equal((await store.hawserTokens.find(tokenId))?.revokedAt, undefined);
  answerInfo(back, ENGINE);
  link.engine = ENGINE;
  await waitFor('the trial that works', () => {
    clock.advance(AGAIN_MS);
    return registry.link(id) === link;
  });
  assert.equal(await kindOf(parts), 'native');
  const failures = (await audit.list({ limit: 50 })).items.filter(({ result }) => result === 'failed');
  assert.ok(failures.length >= 1 && failures.length <= 2, JSON.stringify(failures));
});

test('an agent at another Docker does not take the host over', async (t) => {
  const parts = await opened(t);
  const { adoption, agent, id, registry, enroll, cutOff } = parts;
  answerInfo(agent, ENGINE);
  await enroll();
  const link = newcomer(id, 'CCCC:DDDD');
  adoption.arrived(link, serials);
  await waitFor('the trial', async () => (await adoption.look('nas')).why !== undefined);
  const view = await adoption.look('nas');
  assert.equal(view.state, 'trying');
  assert.match(view.why ?? '', /another machine/);
  assert.equal(await kindOf(parts), 'hawser-edge');
  assert.notEqual(registry.link(id), link);
  await adoption.cancel('nas', ADMIN);
  assert.deepEqual(cutOff, ['AB1']);
  assert.equal((await adoption.look('nas')).state, 'none');
});

test('what is being tried when the server stops is tried no more', async (t) => {
  const parts = await opened(t);
  const { adoption, clock, id, enroll } = parts;
  await enroll();
  const timers = clock.pendingTimers;
  const { promise, resolve } = Promise.withResolvers<void>();
  const link = newcomer(id, null);
  adoption.arrived(Object.assign(link, { ping: () => promise.then(() => 1) }), serials);
  const closed = adoption.close();
  resolve();
  await closed;
  assert.equal(link.tried, 1, 'the trial went on to its end');
  assert.equal(clock.pendingTimers, timers, 'and waits for no other');
});

test('a host whose owner denies the question is taken over by an agent that reaches Docker', async (t) => {
  const parts = await opened(t);
  const { adoption, id, registry, enroll } = parts;
  await enroll();
  const link = newcomer(id, new FairleadError('DENIED_BY_HOST', 'denied'));
  adoption.arrived(link, serials);
  await waitFor('the new agent to serve', () => registry.link(id) === link);
});

test('what was handed out can be taken back until the host is taken over', async (t) => {
  const parts = await opened(t);
  const { adoption, agent, id, enroll, store, asked, clock, registry } = parts;
  await assert.rejects(adoption.cancel('nas', ADMIN), { code: 'NOT_FOUND' });
  const offer = await adoption.offer('NAS', {}, ADMIN);
  assert.deepEqual([offer.hostId, offer.hostName, asked], [id, 'nas', [id]]);
  assert.deepEqual(await adoption.look('nas').then(({ state, tokenId }) => [state, tokenId]), ['offered', offer.id]);
  await adoption.cancel('nas', ADMIN);
  assert.notEqual((await store.enrollmentTokens.find(offer.id))?.revokedAt, undefined);
  assert.equal((await adoption.look('nas')).state, 'none');
  await adoption.offer('nas', {}, ADMIN);
  clock.advance(3_600_000);
  assert.equal((await adoption.look('nas')).state, 'none');
  await enroll();
  assert.equal((await adoption.look('nas')).state, 'enrolled');
  assert.equal(agent.closedWith?.code, 1008, 'silent for an hour');
  adoption.arrived(newcomer(id), serials);
  await waitFor('the new agent to serve', () => registry.link(id) !== undefined);
  await assert.rejects(adoption.cancel('nas', ADMIN), { code: 'CONFLICT' });
  await assert.rejects(adoption.offer('nas', {}, ADMIN), { code: 'CONFLICT' });
});

test('taken back, or revoked, while it is tried, the new agent does not take the host over', async (t) => {
  const parts = await opened(t);
  const { adoption, id, registry, enroll, agent } = parts;
  answerInfo(agent, ENGINE);
  await enroll();
  const link = newcomer(id);
  const tried = Promise.withResolvers<void>();
  link.ping = async () => {
    await adoption.cancel('nas', ADMIN);
    tried.resolve();
    return 1;
  };
  adoption.arrived(link, serials);
  await tried.promise;
  await adoption.close();
  assert.equal(await kindOf(parts), 'hawser-edge');
  assert.notEqual(registry.link(id), link);
  assert.equal(agent.closedWith, undefined);
});

test('a server that was killed before the tokens ended goes on with that when the new agent is back', async (t) => {
  const parts = await opened(t);
  const { adoption, make, id, registry, enroll, agent } = parts;
  answerInfo(agent, ENGINE);
  await enroll();
  adoption.arrived(newcomer(id, null), serials);
  await adoption.close();
  const next = make();
  assert.equal(await next.isUnderWay(id), true);
  assert.equal((await next.look('nas')).state, 'enrolled');
  const link = newcomer(id);
  next.arrived(link, serials);
  await waitFor('the new agent to serve', () => registry.link(id) === link);
  assert.equal(await kindOf(parts), 'native');
});

test('of two new agents the newest is tried; one that is late gives way to what serves', async (t) => {
  const parts = await opened(t);
  const { adoption, id, enroll, registry, agent, clock } = parts;
  answerInfo(agent, ENGINE);
  await enroll();
  const first = newcomer(id, null);
  const second = newcomer(id, null);
  adoption.arrived(first, serials);
  adoption.arrived(second, serials);
  assert.equal(first.closedWith?.code, 'REPLACED');
  await waitFor('the trial', () => second.tried === 1);
  adoption.settled(id);
  assert.equal(second.closedWith?.code, 'REPLACED');
  clock.advance(AGAIN_MS);
  await turn();
  assert.equal(second.tried, 1);
  assert.notEqual(registry.link(id), undefined);
});

test('a host that the server dials is dialled no more, and its token is erased, once it is taken over', async (t) => {
  const parts = await opened(t);
  const { adoption, agent, id, registry, enroll, store, stopped } = parts;
  answerInfo(agent, ENGINE);
  await enroll();
  await store.hosts.setKind(id, 'hawser-standard');
  await store.hawserStandard.put({ hostId: id, settings: '{}', secrets: 'sealed', changedBy: 'ann', changedAt: 1 });
  const link = newcomer(id, null);
  adoption.arrived(link, serials);
  await waitFor('the first trial', () => link.tried === 1);
  assert.deepEqual(stopped, []);
  assert.notEqual(await store.hawserStandard.find(id), undefined);
  link.engine = ENGINE;
  await waitFor('the new agent to serve', () => {
    parts.clock.advance(AGAIN_MS);
    return registry.link(id) === link;
  });
  assert.deepEqual(stopped, [id]);
  assert.equal(await store.hawserStandard.find(id), undefined);
  assert.equal(await kindOf(parts), 'native');
});

test('a new agent that leaves, or whose certificate is revoked, leaves the host to the old one', async (t) => {
  const parts = await opened(t);
  const { adoption, id, enroll, store, registry, clock, audit, agent, tokenId } = parts;
  const hosts = new Hosts({
    ...{ store, registry, clock, audit },
    forget: () => undefined,
    disconnect: (target, code, reason) => {
      if (target.serial === undefined) parts.edge.disconnect(target, code, reason);
    },
  });
  const isWhole = async () => {
    assert.equal((await store.hosts.get(id)).revokedAt, undefined);
    assert.equal((await store.hawserTokens.find(tokenId))?.revokedAt, undefined);
    assert.equal(agent.closedWith, undefined);
    assert.deepEqual(await store.certificates.active(id), []);
    assert.equal((await adoption.look('nas')).state, 'none');
  };
  await enroll(1);
  await hosts.leave(id, 'unenrolled', '192.0.2.9');
  await isWhole();
  await enroll(2);
  await hosts.revokeSerial('AB2', 'a mistake', ADMIN);
  await isWhole();
  await enroll(3);
  await hosts.revokeMany({ serials: ['AB3'], reason: 'a mistake' }, ADMIN);
  await isWhole();
});
