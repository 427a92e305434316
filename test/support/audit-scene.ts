/** A server with hosts whose keys are at hand, on which what is audited can be done. */
import assert from 'node:assert/strict';
import { createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { createCsr } from '../../certs/csr.ts';
import { proveRecovery } from '../../certs/recovery-proof.ts';
import { newToken, type Server, startServer } from './mesh.ts';
import type { Cleanup } from './tmp.ts';

/** Set by `startScene`. */
export let server: Server;
export let cleanup: Cleanup;

/** Starts a server with four hosts. @param forFile what cleans up once all tests of the file have ended */
export async function startScene(forFile: Cleanup): Promise<void> {
  cleanup = forFile;
  server = await startServer(cleanup);
  for (const name of ['one', 'two', 'three', 'four']) await joined(name);
}

export interface Pair {
  readonly key: string;
  readonly cert: string;
}

/** By host. */
const pairs = new Map<string, Pair>();

export async function keyAndCsr(): Promise<{ key: string; csr: string }> {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return { key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), csr: await createCsr(privateKey) };
}

/** Enrolls a host, as its agent does. */
export async function joined(name: string): Promise<void> {
  const { key, csr } = await keyAndCsr();
  const { token } = await newToken(server);
  const facts = { hostname: name, os: 'linux', arch: 'x64', agentVersion: '1' };
  const { status, body, text } = await server.api.post('/api/v1/enroll', { token, csr, name, ...facts });
  assert.equal(status, 201, text);
  pairs.set(name, { key, cert: body.certificate });
}

export function pairOf(name: string): Pair {
  const pair = pairs.get(name);
  assert.ok(pair);
  return pair;
}

/** Does what only time and accidents do otherwise. */
export function inStore(statement: string, ...values: unknown[]): void {
  const database = new Database(join(server.dataDir, 'fairlead.db'), { timeout: 5000 });
  database.prepare(statement).run(...values);
  database.close();
}

/** What a host sends whose certificate has expired. */
export async function recoveryOf(name: string) {
  inStore('update certificates set not_after = 1 where host_id = (select id from hosts where name = ?)', name);
  const { key, cert } = pairOf(name);
  const certificate = new X509Certificate(cert);
  const { csr } = await keyAndCsr();
  const proof = await proveRecovery(certificate, csr, createPrivateKey(key));
  return { certificate: certificate.toString(), csr, proof };
}

export async function pendingRecovery(name: string): Promise<string> {
  const answer = await server.api.post('/api/v1/recover', await recoveryOf(name));
  assert.equal(answer.status, 202, answer.text);
  const { items } = (await server.api.get('/api/v1/recoveries')).body;
  return items.find((row: { hostName: string }) => row.hostName === name).id;
}

export async function operatorCertificate(): Promise<Pair & { serial: string }> {
  const { key, csr } = await keyAndCsr();
  const { body } = await server.api.post('/api/v1/operator-certificates', { csr, name: 'ann', role: 'viewer' });
  return { key, cert: body.certificate, serial: body.serial };
}

export const PASSWORD = 'correct horse battery';

export async function user(name: string): Promise<{ user: string; password: string }> {
  await server.api.post('/api/v1/users', { name, role: 'viewer', password: PASSWORD });
  return { user: name, password: PASSWORD };
}
