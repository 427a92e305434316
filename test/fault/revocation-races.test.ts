/** A revocation at every moment of a connection: none that began before it outlives it. */
import assert from 'node:assert/strict';
import https from 'node:https';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Identity } from '../../agent/identity/state-dir.ts';
import { FairleadError } from '../../shared/errors.ts';
import { connectAgent, type LiveListener, liveListener } from '../support/live-listener.ts';
import { waitFor, within } from '../support/wait.ts';

const ROUNDS = 300;
const AT_ONCE = 10;
const ADMIN = { name: 'tester' };

/** Keeps the sockets that it makes, so that their end can be seen from outside, whatever the session says. */
class Watched extends https.Agent {
  readonly made: Socket[] = [];

  override createConnection(...args: Parameters<https.Agent['createConnection']>) {
    const socket = super.createConnection(...args);
    if (socket != null) this.made.push(socket as Socket);
    return socket;
  }
}

/**
 * Revokes a host while it connects: after a time, or once it has its session.
 * @returns what became of the connection's attempt: a session, or the code it was refused with
 */
async function race(live: LiveListener, identity: Identity, moment: number | 'connected'): Promise<string> {
  const httpsAgent = new Watched({ keepAlive: false, maxCachedSessions: 0 });
  const connecting = connectAgent(identity, { httpsAgent });
  const attempt = connecting.then(
    async ({ session }) => `session, ${(await session.closed).code}`,
    (error: unknown) => (error as { code?: string }).code ?? String(error),
  );
  if (moment === 'connected') await connecting;
  else await sleep(moment);
  await live.hosts.revoke(identity.record.hostId, 'raced', ADMIN);
  const outcome = await within(1_000, 'the end of a revoked connection', attempt);
  for (const socket of httpsAgent.made) {
    if (!socket.destroyed)
      await within(1_000, 'the end of its socket', new Promise((end) => socket.once('close', end)));
  }
  const isOver = () => live.registry.link(identity.record.hostId) === undefined;
  await waitFor('the end of the link', isOver, { timeoutMs: 1_000, everyMs: 5 });
  return outcome;
}

/** How long a connection takes here from TCP to welcome when as many are made at a time as below, in ms. */
async function connectMs(live: LiveListener): Promise<number> {
  const from = performance.now();
  const names = Array.from({ length: AT_ONCE }, (_, n) => `first-${n}`);
  const sessions = await Promise.all(names.map(async (name) => (await connectAgent(await live.enroll(name))).session));
  const ms = performance.now() - from;
  for (const session of sessions) session.destroy(new FairleadError('SHUTDOWN', 'measured'));
  return ms;
}

test(`${ROUNDS} connections race their revocation, by host: none survives`, async (t) => {
  const live = await liveListener(t);
  // Revocations are spread over it and somewhat beyond.
  const spreadMs = 2 * (await connectMs(live));
  const outcomes = new Map<string, number>();
  let next = 0;
  const worker = async () => {
    while (next < ROUNDS) {
      const round = next++;
      const identity = await live.enroll(`racer-${round}`);
      // The last one's session is there for certain, however slow the machine has become since it was measured.
      const moment = round === ROUNDS - 1 ? 'connected' : (round / ROUNDS) * spreadMs;
      const outcome = await race(live, identity, moment);
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  t.diagnostic(JSON.stringify(Object.fromEntries(outcomes)));
  assert.equal([...live.listener.links()].length, 0);
  assert.equal(live.registry.size, 0);
  const sessions = [...outcomes]
    .filter(([outcome]) => outcome.startsWith('session'))
    .reduce((sum, [, n]) => sum + n, 0);
  assert.ok(sessions > 0 && sessions < ROUNDS, 'the revocations came before, or after, all of the sessions');
});

test('a host that connects without end does not get past its revocation, by serial or in bulk', async (t) => {
  const live = await liveListener(t);
  const one = await live.enroll('one', ['lab']);
  const two = await live.enroll('two', ['lab']);
  const stop = new AbortController();
  const codes = new Set<string>();
  const hammer = async (identity: Identity) => {
    while (!stop.signal.aborted) {
      await connectAgent(identity)
        .then(({ session }) => session.closed)
        .then(({ code }) => codes.add(code))
        .catch((error: { code?: string }) => codes.add(error.code ?? String(error)));
    }
  };
  const running = [hammer(one), hammer(one), hammer(two), hammer(two)];
  await sleep(200);
  const serial = one.certificate.serialNumber;
  const [, bulk] = await Promise.all([
    live.hosts.revokeSerial(serial, 'raced', ADMIN),
    live.hosts.revokeMany({ tag: 'lab', hosts: ['nobody'], reason: 'raced' }, ADMIN),
  ]);
  assert.deepEqual(bulk.hosts.map(({ name }) => name).sort(), ['one', 'two']);
  assert.deepEqual(bulk.notFound, { hosts: ['nobody'], serials: [] });
  await sleep(1_000);
  assert.equal(live.registry.size, 0);
  assert.equal([...live.listener.links()].length, 0);
  stop.abort();
  await Promise.all(running);
  assert.ok(codes.has('CERT_REVOKED'), [...codes].join());
});
