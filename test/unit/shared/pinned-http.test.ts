import assert from 'node:assert/strict';
import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import { before, describe, test } from 'node:test';
import { INTERNAL_SERVER_NAME } from '../../../certs/names.ts';
import { isFairleadError } from '../../../shared/errors.ts';
import type { NetworkFailure } from '../../../shared/network-errors.ts';
import { fetchUntrusted, requestPinned, UnreachableError } from '../../../shared/pinned-http.ts';
import type { Cleanup } from '../../support/tmp.ts';
import { listen, newPki, type Pki } from '../agent/identity/pki.ts';
import { startProxy } from '../agent/link/agent-port.ts';

let pki: Pki;
let other: Pki;
before(async () => {
  [pki, other] = await Promise.all([newPki(), newPki()]);
});

type Serve = (request: http.IncomingMessage, response: http.ServerResponse) => void;

async function start(cleanup: Cleanup, serve: Serve, tls = pki.tls): Promise<string> {
  return `https://127.0.0.1:${await listen(cleanup, https.createServer(tls, serve))}`;
}

function pinned(url: string, more: Partial<Parameters<typeof requestPinned>[0]> = {}) {
  return requestPinned({ url, method: 'GET', ca: pki.ca.certPem, servername: INTERNAL_SERVER_NAME, ...more });
}

function failsBy(failure: NetworkFailure) {
  return (error: unknown) => error instanceof UnreachableError && error.failure === failure;
}

describe('requestPinned', () => {
  test('sends JSON and parses the answer, whatever its status', async (t) => {
    const url = await start(t, (request, response) => {
      let body = '';
      request.on('data', (chunk) => {
        body += String(chunk);
      });
      request.on('end', () => {
        const { method, headers } = request;
        response.writeHead(422, { 'retry-after': '7' });
        response.end(JSON.stringify({ method, type: headers['content-type'], token: headers['x-token'], body }));
      });
    });
    const answer = await pinned(`${url}/x`, { method: 'POST', body: { ü: 1 }, headers: { 'x-token': 't' } });
    assert.equal(answer.status, 422);
    assert.equal(answer.headers['retry-after'], '7');
    assert.deepEqual(answer.body, { method: 'POST', type: 'application/json', token: 't', body: '{"ü":1}' });
  });

  test('an empty body is undefined, one that is no JSON is its text', async (t) => {
    const url = await start(t, (request, response) => response.end(request.url === '/text' ? 'text' : ''));
    assert.equal((await pinned(url)).body, undefined);
    assert.equal((await pinned(`${url}/text`)).body, 'text');
  });

  test('trusts neither another CA nor another name, even if the environment says to trust everyone', async (t) => {
    const seen: string[] = [];
    const url = await start(t, (request, response) => response.end(seen.push(request.url ?? '')), other.tls);
    const own = await start(t, (request, response) => response.end(seen.push(request.url ?? '')));
    const before = process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
    process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0';
    try {
      await assert.rejects(pinned(url), failsBy('tls'));
      await assert.rejects(pinned(own, { servername: 'localhost.invalid' }), failsBy('tls'));
    } finally {
      if (before === undefined) delete process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
      else process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = before;
    }
    assert.deepEqual(seen, []);
  });

  test('never uses a connection or a TLS session twice', async (t) => {
    let connections = 0;
    let reused = 0;
    const server = https.createServer(pki.tls, (_request, response) => response.end('{}'));
    server.on('secureConnection', (socket) => {
      connections += 1;
      if (socket.isSessionReused()) reused += 1;
    });
    const url = `https://127.0.0.1:${await listen(t, server)}`;
    await fetchUntrusted(url, { maxBytes: 100 });
    await pinned(url);
    await pinned(url);
    assert.deepEqual({ connections, reused }, { connections: 3, reused: 0 });
  });

  test('does not follow a redirect', async (t) => {
    const url = await start(t, (_request, response) => response.writeHead(302, { location: '/elsewhere' }).end());
    assert.equal((await pinned(url)).status, 302);
  });

  test('tells failures apart', async (t) => {
    await assert.rejects(pinned('https://127.0.0.1:1'), failsBy('refused'));
    await assert.rejects(pinned('https://nowhere.invalid'), failsBy('dns'));
    const plain = http.createServer((_request, response) => response.end());
    await assert.rejects(pinned(`https://127.0.0.1:${await listen(t, plain)}`), failsBy('tls'));
    const mute = net.createServer((socket) => t.after(() => socket.destroy()));
    const url = `https://127.0.0.1:${await listen(t, mute)}`;
    await assert.rejects(pinned(url, { timeoutMs: 50 }), failsBy('timeout'));
    const abort = new AbortController();
    const call = pinned(url, { signal: abort.signal });
    abort.abort();
    await assert.rejects(call, (error) => isFairleadError(error, 'CANCELLED'));
  });

  test('an answer that ends early or is too large is no answer', async (t) => {
    const url = await start(t, (request, response) => {
      if (request.url === '/large') return response.end('x'.repeat(1000));
      response.writeHead(200, { 'content-length': '100' });
      response.write('x', () => response.destroy());
      return response;
    });
    await assert.rejects(pinned(url), failsBy('closed'));
    const large = pinned(`${url}/large`, { maxBytes: 999 });
    await assert.rejects(large, (error) => isFairleadError(error, 'PAYLOAD_TOO_LARGE'));
  });

  test('takes https URLs without credentials only', async () => {
    for (const url of ['http://127.0.0.1:1', 'ftp://x', 'x', 'https://user:secret@x']) {
      await assert.rejects(pinned(url), (error) => {
        assert.ok(isFairleadError(error, 'VALIDATION'));
        return !error.message.includes('secret');
      });
    }
  });

  test('goes through the proxy of the environment, unless NO_PROXY names the host', async (t) => {
    const proxy = await startProxy(t);
    const url = await start(t, (_request, response) => response.end('{"ok":true}'));
    const agentFor = (env: Record<string, string>) => new https.Agent({ proxyEnv: env, maxCachedSessions: 0 });
    const through = await pinned(url, { agent: agentFor({ HTTPS_PROXY: proxy.url }) });
    assert.deepEqual(through.body, { ok: true });
    assert.deepEqual(proxy.targets, [new URL(url).host]);
    await pinned(url, { agent: agentFor({ HTTPS_PROXY: proxy.url, NO_PROXY: '127.0.0.1' }) });
    assert.equal(proxy.targets.length, 1);
    await assert.rejects(
      pinned(url, { agent: agentFor({ HTTPS_PROXY: proxy.url }), ca: other.ca.certPem }),
      failsBy('tls'),
    );
  });
});

describe('fetchUntrusted', () => {
  test('takes the CA from whoever answers, below the path of the URL', async (t) => {
    const url = await start(t, (request, response) => response.end(request.url), other.tls);
    assert.equal(await fetchUntrusted(url, { maxBytes: 100 }), '/ca.pem');
    assert.equal(await fetchUntrusted(`${url}/base/`, { maxBytes: 100 }), '/base/ca.pem');
  });

  test('a server that has none is no Fairlead server; an endless answer is cut off', async (t) => {
    const url = await start(t, (request, response) => {
      if (request.url === '/ca.pem') response.writeHead(404).end();
      else response.end('x'.repeat(101));
    });
    await assert.rejects(fetchUntrusted(url, { maxBytes: 100 }), /no Fairlead server: it answers 404/);
    const large = fetchUntrusted(`${url}/large`, { maxBytes: 100 });
    await assert.rejects(large, (error) => isFairleadError(error, 'PAYLOAD_TOO_LARGE'));
  });
});
