/** The API's own certificate in files: replaced while it serves, over real TLS. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { copyFile, readFile, rm, writeFile } from 'node:fs/promises';
import https from 'node:https';
import { join } from 'node:path';
import { before, type TestContext, test } from 'node:test';
import tls from 'node:tls';
import { pino } from 'pino';
import { INTERNAL_SERVER_NAME } from '../../../certs/names.ts';
import { CertificateFiles } from '../../../server/api-certificate-files.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { fileCleanup, tempDir } from '../../support/tmp.ts';
import { waitFor } from '../../support/wait.ts';
import { type Served, serveApi } from './access/served-api.ts';

const LOOK_MS = 2_000;
const shared = fileCleanup();
let made: string;

/** Certificates of other CAs: `a` and `b` for a year, `old` for a week. */
before(async () => {
  made = await tempDir(shared, 'pem');
  for (const [name, days] of [
    ['a', 365],
    ['b', 365],
    ['old', 7],
  ] as const) {
    const files = ['-keyout', join(made, `${name}.key`), '-out', join(made, `${name}.crt`)];
    const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-noenc'];
    execFileSync('openssl', ['req', '-x509', ...kind, ...files, '-days', String(days), '-subj', `/CN=${name}`], {
      stdio: 'ignore',
    });
  }
});

interface Fixture {
  served: Served;
  certFile: string;
  keyFile: string;
  put(part: 'crt' | 'key', name: string): Promise<void>;
  /** The CN of what is served to those who ask for no name of ours. */
  serving(servername?: string): Promise<string>;
  /** Lets the time pass after which the server looks again; if it still does, nothing happens. */
  look(): void;
}

async function serving(t: TestContext, first = 'a'): Promise<Fixture> {
  const dir = await tempDir(t, 'files');
  const [certFile, keyFile] = [join(dir, 'tls.crt'), join(dir, 'tls.key')];
  const put = (part: 'crt' | 'key', name: string) =>
    copyFile(join(made, `${name}.${part}`), part === 'crt' ? certFile : keyFile);
  await put('crt', first);
  await put('key', first);
  const served = await serveApi(t, { apiTls: { mode: 'files', certFile, keyFile } });
  return {
    ...{ served, certFile, keyFile, put },
    serving: (servername) =>
      new Promise((resolve, reject) => {
        const options = { port: served.port, host: '127.0.0.1', rejectUnauthorized: false, servername };
        const socket = tls.connect({ ...options, ...(servername && { servername }) } as tls.ConnectionOptions, () => {
          resolve(String(socket.getPeerCertificate().subject['CN']));
          socket.destroy();
        });
        socket.once('error', reject);
      }),
    look: () => served.clock.advance(LOOK_MS),
  };
}

test('a changed pair is put in place once it holds still, and open connections live on', async (t) => {
  const { served, put, serving: cn, look } = await serving(t);
  const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
  t.after(() => agent.destroy());
  const log = await served.follow({ token: served.token });
  const [, socketsBefore] = [await served.call('/healthz', { agent }), Object.values(agent.freeSockets).flat()];
  await put('crt', 'b');
  await put('key', 'b');
  await waitFor('the new certificate', async () => {
    look();
    return (await cn()) === 'b';
  });
  assert.equal(await cn(INTERNAL_SERVER_NAME), INTERNAL_SERVER_NAME, 'agents and the CLI get our own leaf');
  assert.equal((await served.call('/healthz', { agent })).status, 200);
  assert.equal(Object.values(agent.freeSockets).flat()[0], socketsBefore[0], 'the connection was dropped');
  assert.equal(await Promise.race([log.ended, Promise.resolve('open')]), 'open');
  const { pair } = await served.operator('viewer');
  assert.equal((await served.call('/api/v1/whoami', { pair })).status, 200, 'clients are still asked for certificates');
});

test('a pair that does not fit, or a half-written file, keeps the one before; the log says why, once', async (t) => {
  const { served, put, serving: cn, look, certFile } = await serving(t);
  const complaints = () => served.logged.filter((line) => line.includes('not usable'));
  await put('crt', 'b');
  await waitFor('a complaint', async () => {
    look();
    return complaints().length > 0;
  });
  await served.tls.reload();
  assert.equal(await cn(), 'a');
  assert.equal(complaints().length, 1);
  assert.match(complaints()[0] ?? '', /does not belong/);

  const whole = await readFile(join(made, 'b.crt'), 'utf8');
  await put('key', 'b');
  // The first certificate is whole, the next one of the chain is not yet.
  await writeFile(certFile, whole + whole.slice(0, whole.length / 2));
  await waitFor('another complaint', async () => {
    look();
    return complaints().length > 1;
  });
  assert.equal(await cn(), 'a');
  await writeFile(certFile, whole);
  await waitFor('the new certificate', async () => {
    look();
    return (await cn()) === 'b';
  });
});

test('a change is taken at the second look that finds it the same, not while it is being written', async (t) => {
  const dir = await tempDir(t, 'files');
  const files = { mode: 'files', certFile: join(dir, 'tls.crt'), keyFile: join(dir, 'tls.key') } as const;
  const put = async (name: string) => {
    await copyFile(join(made, `${name}.crt`), files.certFile);
    await copyFile(join(made, `${name}.key`), files.keyFile);
  };
  await put('a');
  const looked = await CertificateFiles.open({
    files,
    clock: new FakeClock(Date.now()),
    log: pino({ level: 'silent' }),
  });
  const taken: string[] = [];
  looked.follow(({ cert }) => taken.push(new X509Certificate(cert).subject));
  t.after(() => looked.close());
  await looked.look();
  await put('b');
  await looked.look();
  assert.deepEqual(taken, []);
  await put('b');
  await looked.look();
  assert.deepEqual(taken, [], 'the files were written again in between');
  await looked.look();
  await looked.look();
  assert.deepEqual(taken, ['CN=b']);
  await rm(files.keyFile);
  await looked.look();
  await looked.look();
  assert.match(looked.current.cert, /BEGIN CERTIFICATE/);
  assert.equal(taken.length, 1);
});

test('told to, the server looks at once', async (t) => {
  const { served, put, serving: cn } = await serving(t);
  await put('crt', 'b');
  await served.tls.reload();
  assert.equal(await cn(), 'a');
  await put('key', 'b');
  await served.tls.reload();
  assert.equal(await cn(), 'b');
});

test('a certificate that ends soon is warned of once a day, and one that has ended is an error', async (t) => {
  const { served, look } = await serving(t, 'old');
  const warnings = () => served.logged.filter((line) => line.includes('expires soon'));
  assert.equal(warnings().length, 1);
  await served.tls.reload();
  assert.equal(warnings().length, 1);
  served.clock.advance(24 * 60 * 60_000);
  await waitFor('another warning', async () => {
    look();
    return warnings().length === 2;
  });
  assert.match(warnings()[1] ?? '', /"daysLeft":5/);
  served.clock.advance(7 * 24 * 60 * 60_000);
  await waitFor('an error', async () => {
    look();
    return served.logged.some((line) => line.includes('has expired'));
  });
  assert.ok(new X509Certificate(await readFile(join(made, 'old.crt'))).validToDate.getTime() < served.clock.now());
});
