/** The way of Edge mode to its server: through a proxy where the environment names one. */
import assert from 'node:assert/strict';
import https from 'node:https';
import { test } from 'node:test';
import { WebSocketServer } from 'ws';
import { dialEdge } from '../../../../agent/hawser/edge-dial.ts';
import { UnreachableError } from '../../../../shared/pinned-http.ts';
import { listen, newPki } from '../identity/pki.ts';
import { startProxy } from '../link/agent-port.ts';

const { signal } = new AbortController();
/** As the agent's process makes it of its environment. */
const agentOf = (proxyEnv: Record<string, string>) =>
  new https.Agent({ keepAlive: false, maxCachedSessions: 0, proxyEnv });

test('goes through the proxy of HTTPS_PROXY with TLS to the server itself, unless NO_PROXY names the host', async (t) => {
  const [pki, proxy] = [await newPki(), await startProxy(t)];
  const server = https.createServer(pki.tls);
  const sockets = new WebSocketServer({ server });
  t.after(() => {
    for (const ws of sockets.clients) ws.terminate();
  });
  const url = `wss://localhost:${await listen(t, server)}/api/hawser/connect`;
  const dialed = async (env: Record<string, string>, ca = pki.ca.certPem) => {
    const ws = await dialEdge({ url, ca }, { httpsAgent: agentOf(env) }, signal);
    t.after(() => ws.terminate());
  };
  const connected = () => sockets.clients.size;
  await dialed({ HTTPS_PROXY: proxy.url });
  assert.deepEqual(proxy.targets, [new URL(url).host]);
  assert.equal(connected(), 1);
  await dialed({ https_proxy: proxy.url, no_proxy: 'localhost' });
  assert.equal(proxy.targets.length, 1);
  assert.equal(connected(), 2);
  // The proxy vouches for nobody: a server of another CA is none behind it, either.
  const { ca: other } = await newPki();
  const failure = (wanted: string) => (error: unknown) => error instanceof UnreachableError && error.failure === wanted;
  await assert.rejects(dialed({ HTTPS_PROXY: proxy.url }, other.certPem), failure('tls'));
  assert.equal(proxy.targets.length, 2);
  assert.equal(connected(), 2);
  const nobody = { url: 'wss://127.0.0.1:1/' };
  const attempt = dialEdge(nobody, { httpsAgent: agentOf({ HTTPS_PROXY: proxy.url }) }, signal);
  await assert.rejects(attempt, failure('proxy'));
});
