import assert from 'node:assert/strict';
import { randomUUID, X509Certificate } from 'node:crypto';
import { chmod, mkdir, readdir, readFile, stat } from 'node:fs/promises';
import net from 'node:net';
import { join } from 'node:path';
import { before, describe, type TestContext, test } from 'node:test';
import { pino } from 'pino';
import { type EnrollDeps, type EnrollOptions, enroll } from '../../../../agent/identity/enroll.ts';
import { loadIdentity } from '../../../../agent/identity/state-dir.ts';
import { StateLock } from '../../../../agent/identity/state-lock.ts';
import { systemClock } from '../../../../shared/clock.ts';
import { isFairleadError } from '../../../../shared/errors.ts';
import { tempDir } from '../../../support/tmp.ts';
import { accepted, type EnrollRequest, issue, listen, newPki, newToken, type Pki, problem, startApi } from './pki.ts';

const log = pino({ level: 'silent' });
const deps: EnrollDeps = {
  clock: systemClock,
  facts: { hostname: 'machine', os: 'linux', arch: 'x64', agentVersion: '1.2.3' },
  claim: (dir) => {
    const lock = StateLock.claim(dir, 'enrolling', { log, now: Date.now });
    return () => lock.release();
  },
};
let pki: Pki;
let other: Pki;

before(async () => {
  [pki, other] = await Promise.all([newPki(), newPki()]);
});

async function options(t: TestContext, server: string, token = newToken(pki)): Promise<EnrollOptions> {
  return { server, token, stateDir: join(await tempDir(t, 'enroll'), 'deep', 'state'), tags: [] };
}

async function refused(promise: Promise<unknown>, code: string, text: RegExp): Promise<void> {
  await assert.rejects(promise, (error) => {
    assert.ok(isFairleadError(error), String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, text);
    return true;
  });
}

async function isGone(path: string): Promise<boolean> {
  return await stat(path).then(
    () => false,
    () => true,
  );
}

describe('enroll', () => {
  test('stores a working identity that only its owner can read', async (t) => {
    const api = await startApi(t, pki, (request) => accepted(pki, request));
    const given = await options(t, api.url);
    const record = await enroll({ ...given, name: 'web-1', tags: ['prod'] }, deps);
    assert.equal(record.name, 'web-1');
    assert.equal(record.agentUrl, 'wss://127.0.0.1:8443/agent');
    const request = api.requests[0] as EnrollRequest & Record<string, unknown>;
    assert.equal(request.token, given.token);
    assert.deepEqual(request.tags, ['prod']);
    assert.equal(request.hostname, 'machine');
    assert.equal(request['agentVersion'], '1.2.3');
    const identity = await loadIdentity(given.stateDir);
    assert.equal(identity.record.hostId, record.hostId);
    assert.equal(identity.caPem, pki.ca.certPem);
    assert.deepEqual((await readdir(given.stateDir)).sort(), ['agent.json', 'ca.pem', 'cert.pem', 'key.pem']);
    assert.equal((await stat(given.stateDir)).mode & 0o777, 0o700);
    assert.equal((await stat(join(given.stateDir, 'key.pem'))).mode & 0o777, 0o600);
    assert.doesNotMatch(await readFile(join(given.stateDir, 'agent.json'), 'utf8'), /fle1/);
  });

  test('sends the token over a second connection, not the one it fetched the CA on', async (t) => {
    const api = await startApi(t, pki, (request) => accepted(pki, request));
    await enroll(await options(t, api.url), deps);
    assert.equal(api.connections, 2);
  });

  test('never sends the token to a server with another CA', async (t) => {
    const api = await startApi(t, other, (request) => accepted(other, request));
    const given = await options(t, api.url);
    await refused(enroll(given, deps), 'VALIDATION', /another CA/);
    assert.equal(api.requests.length, 0);
    assert.ok(await isGone(join(given.stateDir, '..')), 'the directories it made are gone');
  });

  test('never sends the token to a server that shows the right CA and has a leaf of another', async (t) => {
    const api = await startApi(t, other, (request) => accepted(pki, request), pki.ca.certPem);
    const given = await options(t, api.url);
    await refused(enroll(given, deps), 'SERVER_UNREACHABLE', /certificate does not come from the CA/);
    assert.equal(api.requests.length, 0);
    assert.ok(await isGone(given.stateDir));
  });

  test('trusts only the pinned certificate of a bundle', async (t) => {
    const bundle = other.ca.certPem + pki.ca.certPem;
    const api = await startApi(t, other, (request) => accepted(pki, request), bundle);
    await refused(enroll(await options(t, api.url), deps), 'SERVER_UNREACHABLE', /CA/);
    assert.equal(api.requests.length, 0);
  });

  test('refuses a fingerprint or a CA file that disagrees with the token', async (t) => {
    const api = await startApi(t, pki, (request) => accepted(pki, request));
    const given = await options(t, api.url);
    const wrong = { ...given, caFingerprint: other.ca.fingerprint };
    await refused(enroll(wrong, deps), 'VALIDATION', /--ca-fingerprint differs/);
    await refused(enroll({ ...given, caPem: other.ca.certPem }, deps), 'VALIDATION', /--ca-file/);
    assert.equal(api.connections, 0);
    const caFingerprint = pki.ca.fingerprint.toUpperCase().replace('SHA256', 'sha256');
    await enroll({ ...given, caPem: pki.ca.certPem, caFingerprint }, deps);
    assert.equal(api.connections, 1, 'with a CA file nothing is fetched');
  });

  test('a truncated token is refused before anything is done', async (t) => {
    const given = await options(t, 'https://127.0.0.1:1');
    await refused(enroll({ ...given, token: given.token.slice(0, -9) }, deps), 'TOKEN_INVALID', /truncated|mistyped/);
    assert.ok(await isGone(given.stateDir));
  });

  test('a refused token says what to do and leaves nothing behind', async (t) => {
    const api = await startApi(t, pki, () => problem(401, 'TOKEN_INVALID', 'no'));
    const given = await options(t, api.url);
    await refused(enroll(given, deps), 'TOKEN_INVALID', /unknown, used, expired or revoked/);
    assert.ok(await isGone(given.stateDir));
  });

  test('other refusals keep their code and reason', async (t) => {
    const api = await startApi(t, pki, () => problem(409, 'CONFLICT', 'the name web-1 is taken'));
    const given = await options(t, api.url);
    await refused(enroll(given, deps), 'CONFLICT', /the name web-1 is taken/);
    assert.ok(await isGone(given.stateDir));
  });

  test('an unreachable server is told by its cause', async (t) => {
    await refused(enroll(await options(t, 'https://127.0.0.1:1'), deps), 'SERVER_UNREACHABLE', /refused/);
    const silent = net.createServer((socket) => socket.destroy());
    const url = `https://127.0.0.1:${await listen(t, silent)}`;
    const given = await options(t, url);
    await refused(enroll(given, deps), 'SERVER_UNREACHABLE', /closed the connection/);
    await refused(enroll(await options(t, 'https://nowhere.invalid'), deps), 'SERVER_UNREACHABLE', /DNS/);
    assert.ok(await isGone(given.stateDir));
  });

  test('a server that is none is told', async (t) => {
    const api = await startApi(t, pki, () => problem(404, 'NOT_FOUND', ''), '<html>hello</html>');
    await refused(enroll(await options(t, api.url), deps), 'SERVER_UNREACHABLE', /no Fairlead server/);
  });

  test('after a lost answer the same command asks again with the same key', async (t) => {
    const hostId = randomUUID();
    let answers = 0;
    const api = await startApi(t, pki, async (request) => {
      answers += 1;
      return answers === 1 ? 'hang up' : await accepted(pki, request, hostId);
    });
    const given = await options(t, api.url);
    await refused(enroll(given, deps), 'SERVER_UNREACHABLE', /run the same command again/);
    assert.deepEqual(await readdir(given.stateDir), ['pending.json']);
    assert.equal((await stat(join(given.stateDir, 'pending.json'))).mode & 0o777, 0o600);
    await enroll(given, deps);
    const [first, second] = await Promise.all(api.requests.map(({ csr }) => issue(pki, csr, hostId)));
    const keyOf = (pem: string | undefined) => new X509Certificate(pem ?? '').publicKey.export({ format: 'jwk' });
    assert.deepEqual(keyOf(first), keyOf(second));
    assert.ok(!(await readdir(given.stateDir)).includes('pending.json'));
  });

  test('a kept key is not used for another token', async (t) => {
    let answers = 0;
    const api = await startApi(t, pki, (request) => {
      answers += 1;
      return answers === 1 ? 'hang up' : accepted(pki, request);
    });
    const given = await options(t, api.url);
    await refused(enroll(given, deps), 'SERVER_UNREACHABLE', /again/);
    await enroll({ ...given, token: newToken(pki, 'token-2') }, deps);
    const [first, second] = await Promise.all(api.requests.map(({ csr }) => issue(pki, csr, randomUUID())));
    const keyOf = (pem: string | undefined) => new X509Certificate(pem ?? '').publicKey.export({ format: 'jwk' });
    assert.notDeepEqual(keyOf(first), keyOf(second));
  });

  test('takes no certificate that is not what was asked for', async (t) => {
    const cases: [RegExp, (request: EnrollRequest) => Promise<Record<string, unknown>>][] = [
      [/not from the pinned CA/, async ({ csr }) => ({ certificate: await issue(other, csr, randomUUID()) })],
      [/not for the key/, async () => ({ certificate: pki.tls.cert })],
      [/names another host/, async ({ csr }) => ({ certificate: await issue(pki, csr, randomUUID()) })],
      [/no certificate/, async () => ({ certificate: 'nonsense' })],
      [/not one to an enrollment/, async () => ({ agentUrl: 'http://elsewhere/agent' })],
    ];
    for (const [text, change] of cases) {
      const api = await startApi(t, pki, async (request) => {
        const answer = await accepted(pki, request);
        assert.ok(answer !== 'hang up');
        return { ...answer, body: { ...(answer.body as object), ...(await change(request)) } };
      });
      const given = await options(t, api.url);
      await refused(enroll(given, deps), 'PROTOCOL_ERROR', text);
      assert.deepEqual(await readdir(given.stateDir), ['pending.json']);
    }
  });

  test('an enrolled host is not enrolled again', async (t) => {
    const api = await startApi(t, pki, (request) => accepted(pki, request));
    const given = await options(t, api.url);
    await enroll(given, deps);
    const before = await readFile(join(given.stateDir, 'key.pem'), 'utf8');
    await refused(
      enroll({ ...given, token: newToken(pki, 'token-2') }, deps),
      'CONFLICT',
      /already enrolled as host-a/,
    );
    assert.equal(await readFile(join(given.stateDir, 'key.pem'), 'utf8'), before);
    assert.equal(api.requests.length, 1);
  });

  test('a listener without a path gets the one of the sessions', async (t) => {
    const api = await startApi(t, pki, async (request) => {
      const answer = await accepted(pki, request);
      assert.ok(answer !== 'hang up');
      return { ...answer, body: { ...(answer.body as object), agentUrl: 'wss://host:8443' } };
    });
    assert.equal((await enroll(await options(t, api.url), deps)).agentUrl, 'wss://host:8443/agent');
  });

  test('a plain http URL is refused', async (t) => {
    await refused(enroll(await options(t, 'http://127.0.0.1:1'), deps), 'VALIDATION', /https/);
  });

  test('a state directory that cannot be made or is open to others is refused before the token is sent', async (t) => {
    const api = await startApi(t, pki, (request) => accepted(pki, request));
    const given = await options(t, api.url);
    const parent = await tempDir(t, 'state');
    await refused(enroll({ ...given, stateDir: '/dev/null/state' }, deps), 'VALIDATION', /cannot be/);
    const shared = join(parent, 'shared');
    await mkdir(join(shared, 'stranger'), { recursive: true });
    await chmod(shared, 0o777);
    await refused(enroll({ ...given, stateDir: shared }, deps), 'VALIDATION', /others may write/);
    assert.deepEqual(await readdir(shared), ['stranger']);
    assert.equal(api.requests.length, 0);
    const empty = join(parent, 'empty');
    await mkdir(empty, { mode: 0o755 });
    await enroll({ ...given, stateDir: empty }, deps);
    assert.equal((await stat(empty)).mode & 0o777, 0o700);
  });
});
