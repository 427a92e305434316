/** Operators' certificates across a rotation of the CA, over real TLS: good until their root is retired, and no longer. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import https from 'node:https';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import type { ApiTls } from '../../../../server/config.ts';
import { tempDir } from '../../../support/tmp.ts';
import { within } from '../../../support/wait.ts';
import { ADMIN, LOGS, type Pair, type Served, serveApi } from './served-api.ts';

const WHOAMI = '/api/v1/whoami';

async function ownCertificate(t: TestContext): Promise<ApiTls> {
  const dir = await tempDir(t, 'tls');
  const [certFile, keyFile] = [join(dir, 'tls.crt'), join(dir, 'tls.key')];
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-noenc', '-days', '90', '-subj', '/CN=own'];
  execFileSync('openssl', ['req', '-x509', ...kind, '-keyout', keyFile, '-out', certFile], { stdio: 'ignore' });
  return { mode: 'files', certFile, keyFile };
}

/** A client that keeps its one connection, and trusts any server: it is the server's trust that is tested. */
function clientOf(t: TestContext, served: Served, pair: Pair) {
  const agent = new https.Agent({ keepAlive: true, maxSockets: 1, rejectUnauthorized: false, ...pair });
  t.after(() => agent.destroy());
  const get = async (path: string): Promise<IncomingMessage> => {
    const [response] = await once(https.get(served.url + path, { agent }), 'response');
    return response as IncomingMessage;
  };
  return {
    get,
    async whoami(): Promise<{ status: number | undefined; body: string }> {
      const response = await get(WHOAMI);
      return { status: response.statusCode, body: await text(response) };
    },
  };
}

for (const mode of ['internal', 'files'] as const) {
  test(`a certificate of the old root opens the API until that is retired, and nothing afterwards (${mode})`, async (t) => {
    const served = await serveApi(t, mode === 'files' ? { apiTls: await ownCertificate(t) } : {});
    const { rotation } = served;
    const take = (action: 'publish' | 'activate' | 'retire' | 'abort') =>
      rotation.take(action, { force: false }, ADMIN);
    const old = await served.operator('viewer', { name: 'old' });
    const kept = clientOf(t, served, old.pair);
    const listed = async () => (await rotation.status()).otherOperatorCertificates.map(({ name }) => name);
    await take('publish');
    assert.equal((await kept.whoami()).status, 200);
    assert.deepEqual(await listed(), []);
    await take('activate');
    const fresh = await served.operator('viewer', { name: 'new' });
    assert.deepEqual(await listed(), ['old']);
    for (const { pair } of [old, fresh]) assert.equal((await clientOf(t, served, pair).whoami()).status, 200);
    await take('abort');
    assert.deepEqual(await listed(), ['new']);
    for (const { pair } of [old, fresh]) assert.equal((await clientOf(t, served, pair).whoami()).status, 200);
    await take('activate');
    assert.equal((await kept.whoami()).status, 200);
    const log = await clientOf(t, served, old.pair).get(LOGS);
    const ended = new Promise((resolve) =>
      log
        .once('error', resolve)
        .once('end', () => resolve('end'))
        .resume(),
    );
    const going = await clientOf(t, served, fresh.pair).get(LOGS);
    going.resume();

    await take('retire');
    await within(1_000, 'the end of the log', ended);
    assert.equal(going.destroyed, false);
    for (const client of [kept, clientOf(t, served, old.pair)]) {
      const refused = await client.whoami();
      assert.equal(refused.status, 401);
      assert.match(refused.body, /of a root that was retired/);
    }
    assert.equal((await clientOf(t, served, fresh.pair).whoami()).status, 200);
    assert.deepEqual(await listed(), ['old'], 'until it expires or is removed');
  });
}
