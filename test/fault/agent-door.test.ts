/** The agents' port from outside: behind a balancer, and to whoever has no business there. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import https from 'node:https';
import net, { type Socket } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import tls from 'node:tls';
import type { Identity } from '../../agent/identity/state-dir.ts';
import { parseBalancers } from '../../server/doors/balancers.ts';
import { systemClock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import { hostLeave } from '../../shared/messages/host.ts';
import { connectAgent, liveListener } from '../support/live-listener.ts';
import { LOCAL_HEADER, proxyHeader } from '../support/proxy-header.ts';
import { tempDir } from '../support/tmp.ts';
import { within } from '../support/wait.ts';
import { clockAt, DAY_MS, testCa } from '../unit/certs/fixtures.ts';

const balancers = parseBalancers('--proxy-protocol', ['127.0.0.9']);

/** Dials as through a balancer at `from`, which sends `header` first. */
class Through extends https.Agent {
  readonly #from: string;
  readonly #header: Buffer;

  constructor(from: string, header: Buffer) {
    super({ keepAlive: false, maxCachedSessions: 0 });
    this.#from = from;
    this.#header = header;
  }

  override createConnection(options: https.RequestOptions) {
    const socket: Socket = net.connect({ host: '127.0.0.1', port: Number(options.port), localAddress: this.#from });
    socket.write(this.#header);
    const { ca, cert, key, servername } = options as tls.ConnectionOptions;
    return tls.connect({ socket, ca, cert, key, servername, minVersion: 'TLSv1.3' } as tls.ConnectionOptions);
  }
}

test('behind a balancer an agent is known by its own address; only a balancer may say so', async (t) => {
  const live = await liveListener(t, { balancers });
  const identity = await live.enroll('behind');
  /** The address that the audit log has for a host that leaves by itself. */
  const leaveBy = async (from: string, header: Buffer, who: Identity) => {
    const { session } = await connectAgent(who, { httpsAgent: new Through(from, header) });
    await session.open(hostLeave, { reason: 'moved' }).reply;
    await session.closed;
    return (await live.audit.list({}, { action: 'host.leave' })).items[0]?.address;
  };
  assert.equal(await leaveBy('127.0.0.9', proxyHeader('198.51.100.7', 4711), identity), '198.51.100.7');
  assert.equal(await leaveBy('127.0.0.9', LOCAL_HEADER, await live.enroll('local')), '127.0.0.9');
  assert.equal(await leaveBy('127.0.0.1', Buffer.alloc(0), await live.enroll('plain')), '127.0.0.1');
  const line = Buffer.from('PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n');
  assert.equal(await leaveBy('127.0.0.9', line, await live.enroll('line')), '192.0.2.1');
  const other = await live.enroll('other');
  for (const [from, header] of [
    ['127.0.0.1', proxyHeader('198.51.100.7', 1)],
    ['127.0.0.9', Buffer.alloc(0)],
    ['127.0.0.1', line],
  ] as const) {
    await assert.rejects(connectAgent(other, { httpsAgent: new Through(from, header) }));
  }
});

test('connecting is as fast with a balancer configured as without', async (t) => {
  const [plain, guarded] = [await liveListener(t), await liveListener(t, { balancers })];
  const median = async (who: Identity) => {
    const times: number[] = [];
    for (let i = 0; i < 15; i++) {
      const from = performance.now();
      const { session } = await connectAgent(who);
      times.push(performance.now() - from);
      session.destroy(new FairleadError('SHUTDOWN', 'measured'));
      await session.closed;
    }
    return times.sort((a, b) => a - b)[7] ?? 0;
  };
  const [one, two] = [await plain.enroll('one'), await guarded.enroll('two')];
  await median(one);
  const [withoutMs, withMs] = [await median(one), await median(two)];
  t.diagnostic(`median from TCP to welcome: ${withoutMs.toFixed(1)} ms without, ${withMs.toFixed(1)} ms with`);
  assert.ok(withMs <= 3 * withoutMs + 15, `${withoutMs} ms, ${withMs} ms`);
});

/** What openssl's client gets to see of a request with this certificate. */
async function sClient(port: number, dir: string, pair?: { keyPem: string; certPem: string }): Promise<string> {
  const args = ['s_client', '-connect', `127.0.0.1:${port}`, '-tls1_3', '-ign_eof'];
  if (pair !== undefined) {
    await writeFile(join(dir, 'cert.pem'), pair.certPem);
    await writeFile(join(dir, 'key.pem'), pair.keyPem);
    args.push('-cert', join(dir, 'cert.pem'), '-key', join(dir, 'key.pem'));
  }
  const client = spawn('openssl', args, { stdio: ['pipe', 'pipe', 'pipe'] });
  let output = '';
  const collect = (chunk: unknown) => {
    output += String(chunk);
  };
  for (const stream of [client.stdout, client.stderr]) stream.on('data', collect);
  client.stdin.on('error', () => undefined);
  client.stdin.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
  await within(15_000, 'the end of openssl', once(client, 'close'));
  return output;
}

test('openssl with no certificate, an expired one, or one that is not of an agent of this CA gets no answer', async (t) => {
  const live = await liveListener(t);
  const dir = await tempDir(t, 'openssl');
  const good = await live.enroll('good');
  assert.match(await sClient(live.port, dir, good), /HTTP\/1\.1 426/, 'a good one is served');
  const spki = good.certificate.publicKey.export({ type: 'spki', format: 'der' });
  const { installationId } = live.own;
  const past = clockAt(systemClock.now() - 40 * DAY_MS);
  const issue = async (ca: typeof live.own, clock = systemClock) => {
    const issued = await ca.ca.issueAgent({ spki, hostId: good.record.hostId, installationId, clock });
    return { keyPem: good.keyPem, certPem: issued.certPem };
  };
  const leaf = await live.own.ca.issueServer({ publicHosts: ['localhost'], clock: systemClock });
  const refused = {
    none: undefined,
    expired: await issue(live.own, past),
    foreign: await issue(await testCa()),
    'a server’s own': { keyPem: leaf.keyPem, certPem: leaf.certPem },
  };
  for (const [which, pair] of Object.entries(refused)) {
    assert.doesNotMatch(await sClient(live.port, dir, pair), /HTTP\/1\.1/, which);
  }
});
