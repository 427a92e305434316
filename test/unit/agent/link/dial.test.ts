import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import https from 'node:https';
import net from 'node:net';
import { before, test } from 'node:test';
import type { Identity } from '../../../../agent/identity/state-dir.ts';
import { type DialOptions, dial } from '../../../../agent/link/dial.ts';
import { systemClock } from '../../../../shared/clock.ts';
import { type ErrorCode, isFairleadError } from '../../../../shared/errors.ts';
import type { NetworkFailure } from '../../../../shared/network-errors.ts';
import { UnreachableError } from '../../../../shared/pinned-http.ts';
import type { Cleanup } from '../../../support/tmp.ts';
import { listen, newPki, type Pki } from '../identity/pki.ts';
import { newIdentity, refusal, startAgentPort, startProxy } from './agent-port.ts';

let pki: Pki;
let other: Pki;
before(async () => {
  [pki, other] = await Promise.all([newPki(), newPki()]);
});

function httpsAgent(env: Record<string, string> = {}): https.Agent {
  return new https.Agent({ keepAlive: false, maxCachedSessions: 0, proxyEnv: env });
}

/** Dials, and closes what was opened when the test ends. */
async function dialed(cleanup: Cleanup, identity: Identity, more: Partial<DialOptions> = {}) {
  const ws = await dial({ identity, httpsAgent: httpsAgent(), ...more });
  cleanup.after(() => ws.terminate());
  return ws;
}

function hasFailure(failure: NetworkFailure) {
  return (error: unknown) => error instanceof UnreachableError && error.failure === failure;
}

function hasCode(code: ErrorCode) {
  return (error: unknown) => isFairleadError(error, code);
}

test('opens mutual TLS 1.3 with the host certificate, and never resumes a TLS session', async (t) => {
  const port = await startAgentPort(t, pki);
  const identity = await newIdentity(pki, port.url);
  const agent = httpsAgent();
  const ws = await dialed(t, identity, { httpsAgent: agent });
  assert.equal(ws.protocol, 'fairlead.v1');
  assert.equal(ws.extensions, '');
  await dialed(t, identity, { httpsAgent: agent });
  for (const socket of port.upgrades) {
    assert.equal(socket.getProtocol(), 'TLSv1.3');
    assert.equal(socket.isSessionReused(), false);
    assert.equal(socket.getPeerX509Certificate()?.fingerprint256, new X509Certificate(identity.certPem).fingerprint256);
  }
});

test('speaks to no server of another CA', async (t) => {
  const port = await startAgentPort(t, other);
  const identity = await newIdentity(pki, port.url);
  await assert.rejects(dialed(t, identity), hasFailure('tls'));
  assert.equal(port.upgrades.length, 0);
});

test('a server that does not accept the certificate closes, and that is told from other ends', async (t) => {
  const port = await startAgentPort(t, pki);
  const lastMonth = { ...systemClock, now: () => Date.now() - 40 * 86_400_000 };
  const identity = await newIdentity(pki, port.url, lastMonth);
  await assert.rejects(dialed(t, identity), (error) => {
    assert.ok(hasFailure('closed')(error), String(error));
    assert.match(String(error), /does not accept this host's certificate/);
    return true;
  });
});

test('a refusal keeps the code and the reason that the server gives', async (t) => {
  for (const [status, code] of [
    [403, 'CERT_REVOKED'],
    [403, 'CERT_UNKNOWN'],
    [426, 'VERSION'],
  ] as const) {
    const port = await startAgentPort(t, pki, { refuse: refusal(status, code) });
    const identity = await newIdentity(pki, port.url);
    await assert.rejects(dialed(t, identity), (error) => {
      assert.ok(hasCode(code)(error), String(error));
      assert.match(String(error), new RegExp(`because of ${code}`));
      return true;
    });
  }
});

test('an answer that is no refusal of ours is told by its status', async (t) => {
  for (const body of ['', 'x'.repeat(20_000), '{"code":"WHATEVER"}', '{"code":"__proto__"}', 'null']) {
    const port = await startAgentPort(t, pki, {
      refuse: (_request, socket) => {
        socket.end(`HTTP/1.1 418 No\r\nconnection: close\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
        return true;
      },
    });
    const identity = await newIdentity(pki, port.url);
    await assert.rejects(dialed(t, identity), (error) => hasFailure('other')(error) && /418/.test(String(error)));
  }
});

test('what stands in the way is told apart', async (t) => {
  const identity = await newIdentity(pki, 'wss://127.0.0.1:1/agent');
  const at = (agentUrl: string) => ({ ...identity, record: { ...identity.record, agentUrl } });
  await assert.rejects(dialed(t, identity), hasFailure('refused'));
  await assert.rejects(dialed(t, at('wss://nowhere.invalid/agent')), hasFailure('dns'));
  const mute = net.createServer((socket) => t.after(() => socket.destroy()));
  const silent = at(`wss://127.0.0.1:${await listen(t, mute)}/agent`);
  await assert.rejects(dialed(t, silent, { timeoutMs: 100 }), hasFailure('timeout'));
  const rude = at(
    `wss://127.0.0.1:${await listen(
      t,
      net.createServer((socket) => socket.destroy()),
    )}/agent`,
  );
  await assert.rejects(
    dialed(t, rude),
    (error) => hasFailure('closed')(error) && /without an answer/.test(String(error)),
  );
  const abort = new AbortController();
  const attempt = dialed(t, silent, { signal: abort.signal });
  abort.abort();
  await assert.rejects(attempt, hasCode('CANCELLED'));
  await assert.rejects(dialed(t, silent, { signal: abort.signal }), hasCode('CANCELLED'));
});

test('goes through the proxy of the environment, unless NO_PROXY names the host', async (t) => {
  const proxy = await startProxy(t);
  const port = await startAgentPort(t, pki);
  const identity = await newIdentity(pki, port.url);
  await dialed(t, identity, { httpsAgent: httpsAgent({ HTTPS_PROXY: proxy.url }) });
  assert.deepEqual(proxy.targets, [new URL(port.url).host]);
  await dialed(t, identity, { httpsAgent: httpsAgent({ https_proxy: proxy.url, no_proxy: '127.0.0.1' }) });
  assert.equal(proxy.targets.length, 1);
  assert.equal(port.upgrades.length, 2);
  const unreachable = await newIdentity(pki, 'wss://127.0.0.1:1/agent');
  await assert.rejects(
    dialed(t, unreachable, { httpsAgent: httpsAgent({ HTTPS_PROXY: proxy.url }) }),
    hasFailure('proxy'),
  );
});
