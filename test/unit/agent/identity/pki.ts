/** A small installation for the agent's tests: a CA, a server leaf, agent certificates, and listeners that use them. */
import { randomBytes, randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { json } from 'node:stream/consumers';
import { type Ca, createCa, openCa } from '../../../../certs/authority.ts';
import { readCsr } from '../../../../certs/csr.ts';
import { formatToken } from '../../../../certs/enrollment-token.ts';
import { type Clock, systemClock } from '../../../../shared/clock.ts';
import type { Cleanup } from '../../../support/tmp.ts';

export interface Pki {
  installationId: string;
  ca: Ca;
  tls: { key: string; cert: string };
}

export async function newPki(): Promise<Pki> {
  const installationId = randomUUID();
  const ca = openCa(await createCa({ installationId, clock: systemClock, bits: 2048 }));
  const leaf = await ca.issueServer({ publicHosts: ['localhost'], clock: systemClock });
  return { installationId, ca, tls: { key: leaf.keyPem, cert: leaf.certPem } };
}

export function newToken(pki: Pki, id = 'token-1'): string {
  return formatToken({ pin: pki.ca.fingerprint, id, secret: randomBytes(32) });
}

/** A certificate for the key in `csr`. */
export async function issue(pki: Pki, csr: string, hostId: string, clock: Clock = systemClock): Promise<string> {
  const { spki } = await readCsr(csr);
  return (await pki.ca.issueAgent({ spki, hostId, installationId: pki.installationId, clock })).certPem;
}

/** Listens with `tls` on a free port of this machine until the test ends. @returns the port */
export async function listen(cleanup: Cleanup, server: https.Server | import('node:net').Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanup.after(() => {
    if (server instanceof https.Server) server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

export interface EnrollRequest {
  token: string;
  csr: string;
  hostname: string;
  name?: string;
  tags?: string[];
}

/** What the enrollment route answers, and what was asked of it. */
export interface ApiStub {
  url: string;
  requests: EnrollRequest[];
  /** Connections on which a request came. */
  connections: number;
}

export type Answer = { status: number; body: unknown; headers?: Record<string, string> } | 'hang up';

/** The two routes that enroll uses, over TLS with the installation's leaf. */
export async function startApi(
  cleanup: Cleanup,
  pki: Pki,
  answer: (request: EnrollRequest) => Answer | Promise<Answer>,
  caPem = pki.ca.certPem,
): Promise<ApiStub> {
  const stub: ApiStub = { url: '', requests: [], connections: 0 };
  const server = https.createServer(pki.tls, (request, response) => {
    void serve(request, response, stub, answer, caPem);
  });
  server.on('secureConnection', () => {
    stub.connections += 1;
  });
  stub.url = `https://127.0.0.1:${await listen(cleanup, server)}`;
  return stub;
}

async function serve(
  request: IncomingMessage,
  response: ServerResponse,
  stub: ApiStub,
  answer: (request: EnrollRequest) => Answer | Promise<Answer>,
  caPem: string,
): Promise<void> {
  if (request.url === '/ca.pem') return void response.end(caPem);
  const asked = (await json(request)) as EnrollRequest;
  stub.requests.push(asked);
  const answered = await answer(asked);
  if (answered === 'hang up') return void request.socket.destroy();
  response.writeHead(answered.status, { 'content-type': 'application/json', ...answered.headers });
  response.end(JSON.stringify(answered.body));
}

/** The answer of a server that takes every token. */
export async function accepted(pki: Pki, request: EnrollRequest, hostId: string = randomUUID()): Promise<Answer> {
  return {
    status: 201,
    body: {
      hostId,
      name: request.name ?? 'host-a',
      certificate: await issue(pki, request.csr, hostId),
      ca: pki.ca.certPem,
      agentUrl: 'wss://127.0.0.1:8443/agent',
      notAfter: new Date(Date.now() + 30 * 86_400_000).toISOString(),
    },
  };
}

export function problem(status: number, code: string, detail: string): Answer {
  return { status, body: { type: 'about:blank', title: code, status, code, detail } };
}
