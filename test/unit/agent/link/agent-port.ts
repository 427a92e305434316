/** A listener like the server's agent port, for tests of the agent's end of the link. */

import { createPrivateKey, generateKeyPairSync, randomUUID, X509Certificate } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { type WebSocket, WebSocketServer } from 'ws';
import type { Identity } from '../../../../agent/identity/state-dir.ts';
import { createCsr } from '../../../../certs/csr.ts';
import { type Clock, systemClock } from '../../../../shared/clock.ts';
import { SUBPROTOCOL } from '../../../../shared/messages/index.ts';
import type { Cleanup } from '../../../support/tmp.ts';
import { issue, listen, type Pki } from '../identity/pki.ts';

/** An enrolled host of `pki` whose server is at `agentUrl`. */
export async function newIdentity(pki: Pki, agentUrl: string, clock: Clock = systemClock): Promise<Identity> {
  const hostId = randomUUID();
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const keyPem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  const certPem = await issue(pki, await createCsr(createPrivateKey(keyPem)), hostId, clock);
  const record = {
    hostId,
    name: 'web-1',
    server: 'https://127.0.0.1:8440',
    agentUrl,
    caFingerprint: pki.ca.fingerprint,
    enrolledAt: new Date(0).toISOString(),
  };
  return { record, keyPem, certPem, caPem: pki.ca.certPem, certificate: new X509Certificate(certPem) };
}

export interface AgentPort {
  url: string;
  /** The TLS sockets of all upgrades so far. */
  upgrades: TLSSocket[];
}

export interface AgentPortOptions {
  /** Answers an upgrade itself; returns false to let it become a WebSocket. */
  refuse?: (request: IncomingMessage, socket: Duplex) => boolean;
  onWebSocket?: (ws: WebSocket) => void;
}

export async function startAgentPort(cleanup: Cleanup, pki: Pki, options: AgentPortOptions = {}): Promise<AgentPort> {
  const server = https.createServer({
    ...pki.tls,
    ca: pki.ca.certPem,
    requestCert: true,
    rejectUnauthorized: true,
    minVersion: 'TLSv1.3',
  });
  const port: AgentPort = { url: '', upgrades: [] };
  const webSockets = new WebSocketServer({ noServer: true, handleProtocols: () => SUBPROTOCOL });
  server.on('upgrade', (request, socket, head) => {
    port.upgrades.push(socket as TLSSocket);
    socket.on('error', () => undefined);
    if (options.refuse?.(request, socket)) return;
    webSockets.handleUpgrade(request, socket, head, (ws) => {
      cleanup.after(() => ws.terminate());
      options.onWebSocket?.(ws);
    });
  });
  port.url = `wss://127.0.0.1:${await listen(cleanup, server)}/agent`;
  return port;
}

/** Answers an upgrade with a problem. */
export function refusal(status: number, code: string): (request: IncomingMessage, socket: Duplex) => boolean {
  const body = JSON.stringify({ type: 'about:blank', title: code, status, code, detail: `because of ${code}` });
  return (_request, socket) => {
    socket.end(
      `HTTP/1.1 ${status} No\r\ncontent-type: application/problem+json\r\nconnection: close\r\n` +
        `content-length: ${body.length}\r\n\r\n${body}`,
    );
    return true;
  };
}

/** A proxy that understands CONNECT only, and remembers the targets. */
export async function startProxy(cleanup: Cleanup): Promise<{ url: string; targets: string[] }> {
  const targets: string[] = [];
  const proxy = http.createServer((_request, response) => response.writeHead(405).end());
  proxy.on('connect', (request, client, head) => {
    const target = new URL(`http://${request.url}`);
    targets.push(target.host);
    const upstream = net.connect(Number(target.port), target.hostname, () => {
      client.write('HTTP/1.1 200 OK\r\n\r\n');
      upstream.write(head);
      upstream.pipe(client).pipe(upstream);
    });
    upstream.on('error', () => client.end('HTTP/1.1 502 Bad Gateway\r\n\r\n'));
    client.on('error', () => upstream.destroy());
    cleanup.after(() => {
      upstream.destroy();
      client.destroy();
    });
  });
  return { url: `http://127.0.0.1:${await listen(cleanup, proxy)}`, targets };
}
