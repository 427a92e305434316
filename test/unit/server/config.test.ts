/** The server's configuration: defaults as documented, and every mistake named. */
import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { createCa, openCa } from '../../../certs/authority.ts';
import { readApiCertificate, readAuditWebhook, readCaPassphrase, readConfig } from '../../../server/config.ts';
import { ServerFlags } from '../../../server/server-flags.ts';
import { machineBytes, streamMemoryBytes } from '../../../server/stream-memory.ts';
import { systemClock } from '../../../shared/clock.ts';
import { flagsOf, readFlags } from '../../../shared/flags.ts';
import { tempDir } from '../../support/tmp.ts';

const configOf = (given: object, env: Record<string, string> = {}) =>
  readConfig(readFlags(ServerFlags, { ...given }, env));

test('the flags are the documented ones', () => {
  assert.deepEqual(
    flagsOf(ServerFlags).map(({ name }) => name),
    [
      '--data-dir',
      '--api-listen',
      '--agent-listen',
      '--public-host',
      '--public-api-port',
      '--public-agent-port',
      '--ca-passphrase-file',
      '--change-ca-passphrase-file',
      '--change-ca-to-master-key',
      '--ca-request-file',
      '--ca-import-file',
      '--api-tls',
      '--api-cert',
      '--api-key',
      '--trust-proxy',
      '--trust-proxy-from',
      '--proxy-protocol',
      '--stream-memory',
      '--audit-retention',
      '--audit-file',
      '--audit-webhook',
      '--audit-webhook-secret-file',
      '--audit-webhook-ca-file',
      '--event-retention',
      '--max-events',
      '--webhook-link-local',
      '--agent-cert-life',
      '--recover-within',
      '--metrics-interval',
      '--metrics-keep-samples',
      '--metrics-keep-fine',
      '--metrics-keep-coarse',
      '--hawser',
      '--hawser-request-timeout',
      '--agent-files',
      '--release-key',
      '--log-level',
      '--reset-admin-token',
    ],
  );
});

test('without flags everything has its default', async () => {
  assert.deepEqual(await configOf({}), {
    dataDir: resolve('./data'),
    apiListen: { host: '0.0.0.0', port: 8440 },
    agentListen: { host: '0.0.0.0', port: 8443 },
    publicHosts: [],
    caPassphraseFile: undefined,
    apiTls: { mode: 'internal' },
    trustProxy: false,
    streamMemoryBytes: streamMemoryBytes(undefined, machineBytes()),
    events: { keepMs: 30 * 86_400_000, maxEvents: 1_000_000 },
    webhookLinkLocal: false,
    audit: { keepMs: 400 * 86_400_000, file: undefined, webhook: undefined },
    agentCertLifeMs: 30 * 86_400_000,
    recoverWithinMs: 0,
    metrics: { intervalMs: 30_000, kept: { samples: 86_400, fine: 30 * 86_400, coarse: 365 * 86_400 } },
    hawser: true,
    hawserRequestMs: 30_000,
    logLevel: 'info',
    resetAdminToken: false,
  });
});

test('everything can be set by the environment', async () => {
  const config = await configOf(
    {},
    {
      FAIRLEAD_DATA_DIR: '/srv/fairlead',
      FAIRLEAD_API_LISTEN: '[::]:0',
      FAIRLEAD_AGENT_LISTEN: 'localhost:0',
      FAIRLEAD_PUBLIC_HOST: 'mesh.example.com, 192.0.2.1,[2001:db8::1],2001:db8::2',
      FAIRLEAD_API_TLS: 'off',
      FAIRLEAD_TRUST_PROXY: '1',
      FAIRLEAD_STREAM_MEMORY: '64',
      FAIRLEAD_AUDIT_RETENTION: 'never',
      FAIRLEAD_AUDIT_FILE: '/var/log/fairlead-audit.ndjson',
      FAIRLEAD_AUDIT_WEBHOOK: 'https://siem.example.com/in',
      FAIRLEAD_EVENT_RETENTION: '1y',
      FAIRLEAD_MAX_EVENTS: '5000',
      FAIRLEAD_METRICS_INTERVAL: '0',
      FAIRLEAD_METRICS_KEEP_SAMPLES: '2h',
      FAIRLEAD_METRICS_KEEP_FINE: '2h',
      FAIRLEAD_METRICS_KEEP_COARSE: '90d',
      FAIRLEAD_HAWSER: 'off',
      FAIRLEAD_HAWSER_REQUEST_TIMEOUT: '2m',
      FAIRLEAD_LOG_LEVEL: 'debug',
    },
  );
  assert.deepEqual(config, {
    dataDir: '/srv/fairlead',
    apiListen: { host: '::', port: 0 },
    agentListen: { host: 'localhost', port: 0 },
    publicHosts: ['mesh.example.com', '192.0.2.1', '2001:db8::1', '2001:db8::2'],
    caPassphraseFile: undefined,
    apiTls: { mode: 'off' },
    trustProxy: true,
    streamMemoryBytes: 64 * 1024 * 1024,
    audit: {
      keepMs: undefined,
      file: '/var/log/fairlead-audit.ndjson',
      webhook: { url: new URL('https://siem.example.com/in'), secretFile: undefined, caFile: undefined },
    },
    events: { keepMs: 365 * 86_400_000, maxEvents: 5_000 },
    webhookLinkLocal: false,
    agentCertLifeMs: 30 * 86_400_000,
    recoverWithinMs: 0,
    metrics: { intervalMs: 0, kept: { samples: 7200, fine: 7200, coarse: 90 * 86_400 } },
    hawser: false,
    hawserRequestMs: 120_000,
    logLevel: 'debug',
    resetAdminToken: false,
  });
});

test('listen addresses that are none are named', async () => {
  const bad = ['', '8440', ':8440', 'host', 'host:', 'host:x', 'host:65536', 'host:-1', '::1:8440', '[::1]', '[a]:1'];
  for (const apiListen of [...bad, '1.2.3:80', '300.1.1.1:80', 'a b:80', 'host:80 ', '[1.2.3.4]:80', 'h:1:2']) {
    await assert.rejects(
      async () => configOf({ apiListen }),
      { code: 'VALIDATION', message: /^--api-listen "/ },
      apiListen,
    );
  }
  const both = { apiListen: '0.0.0.0:9000', agentListen: '0.0.0.0:9000' };
  await assert.rejects(configOf(both), { code: 'VALIDATION', message: /they need two ports/ });
  await configOf({ apiListen: '127.0.0.1:0', agentListen: '127.0.0.1:0' });
});

test('the memory of streams is a whole number of MiB', async () => {
  for (const streamMemory of ['15', '-1', '1.5', '64M', '']) {
    await assert.rejects(async () => configOf({ streamMemory }), { code: 'VALIDATION', message: /^--stream-memory/ });
  }
  assert.equal((await configOf({ streamMemory: '16' })).streamMemoryBytes, 16 * 1024 * 1024);
});

test('the audit log goes where nobody else reads it, and stays for a time that makes sense', async (t) => {
  for (const auditRetention of ['', 'x', '10', '30m', '1w', '-1d', '1.5d']) {
    await assert.rejects(async () => configOf({ auditRetention }), {
      code: 'VALIDATION',
      message: /^--audit-retention/,
    });
  }
  assert.equal((await configOf({ auditRetention: '90d' })).audit.keepMs, 90 * 86_400_000);
  assert.equal((await configOf({ auditRetention: '0' })).audit.keepMs, undefined);
  for (const auditWebhook of ['x', 'ftp://x/', 'http://siem.example.com/', 'https://a:b@siem.example.com/']) {
    await assert.rejects(async () => configOf({ auditWebhook }), { code: 'VALIDATION', message: /^--audit-webhook/ });
  }
  assert.equal((await configOf({ auditWebhook: 'http://127.0.0.1:9/x' })).audit.webhook?.url.port, '9');
  const auditWebhookSecretFile = join(await tempDir(t), 'secret');
  await assert.rejects(async () => configOf({ auditWebhookSecretFile }), { message: /needs --audit-webhook/ });
  const auditWebhook = 'https://siem.example.com/';
  const flags = { auditWebhook, auditWebhookSecretFile };
  await assert.rejects(async () => configOf(flags), { message: /secret cannot be read/ });
  await writeFile(auditWebhookSecretFile, ' \n');
  await assert.rejects(async () => configOf(flags), { message: /is empty/ });
  await writeFile(auditWebhookSecretFile, 'key\n');
  assert.equal((await readAuditWebhook(await configOf(flags)))?.secret, 'key');
  const ca = { auditWebhook, auditWebhookCaFile: auditWebhookSecretFile };
  await assert.rejects(async () => configOf(ca), { message: /does not hold a certificate/ });
});

test('public hosts are names or addresses', async () => {
  for (const host of ['a b', 'https://x', 'x:80', '*.example.com', '1.2.3', '-x', 'x'.repeat(254), 'fe80::1%eth0']) {
    await assert.rejects(configOf({ publicHost: [host] }), { code: 'VALIDATION', message: /^--public-host/ }, host);
  }
  const { publicHosts } = await configOf({ publicHost: ['a,b', 'c'] });
  assert.deepEqual(publicHosts, ['a', 'b', 'c']);
});

test('the passphrase file must be readable and hold one', async (t) => {
  const dir = await tempDir(t, 'config');
  const missing = join(dir, 'missing');
  await assert.rejects(configOf({ caPassphraseFile: missing }), {
    code: 'VALIDATION',
    message: `--ca-passphrase-file: ${missing} cannot be read (ENOENT)`,
  });
  const file = join(dir, 'passphrase');
  await writeFile(file, ' correct horse \r\n');
  const config = await configOf({ caPassphraseFile: file });
  assert.equal(await readCaPassphrase(config), ' correct horse ');
  await writeFile(file, '\n');
  await assert.rejects(readCaPassphrase(config), { code: 'VALIDATION', message: /is empty/ });
  await writeFile(file, 'x'.repeat(300_000));
  await assert.rejects(readCaPassphrase(config), { code: 'VALIDATION', message: /is larger than/ });
  await mkdir(join(dir, 'directory'));
  await assert.rejects(readCaPassphrase({ caPassphraseFile: join(dir, 'directory') }), {
    code: 'VALIDATION',
    message: /EISDIR/,
  });
  assert.equal(await readCaPassphrase({ caPassphraseFile: undefined }), undefined);
});

test("the API's own certificate needs its key, and both need files mode", async (t) => {
  const dir = await tempDir(t, 'config');
  const installationId = '00000000-0000-4000-8000-000000000000';
  const ca = openCa(await createCa({ installationId, clock: systemClock, bits: 2048 }));
  const leaf = await ca.issueServer({ publicHosts: ['localhost'], clock: systemClock });
  const write = async (name: string, text: string) => {
    await writeFile(join(dir, name), text);
    return join(dir, name);
  };
  const apiCert = await write('cert.pem', leaf.certPem + ca.certPem);
  const apiKey = await write('key.pem', leaf.keyPem);
  const config = await configOf({ apiTls: 'files', apiCert, apiKey });
  assert.deepEqual(config.apiTls, { mode: 'files', certFile: apiCert, keyFile: apiKey });
  assert.deepEqual(await readApiCertificate(config), { cert: leaf.certPem + ca.certPem, key: leaf.keyPem });
  assert.equal(await readApiCertificate({ apiTls: { mode: 'internal' } }), undefined);

  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const other = await write('other.pem', String(privateKey.export({ type: 'pkcs8', format: 'pem' })));
  const locked = { type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' } as const;
  const encrypted = await write('encrypted.pem', String(privateKey.export(locked)));
  const fails: [object, RegExp][] = [
    [{ apiTls: 'files' }, /^--api-tls files needs --api-cert$/],
    [{ apiTls: 'files', apiCert }, /^--api-tls files needs --api-key$/],
    [{ apiCert }, /^--api-cert needs --api-tls files$/],
    [{ apiTls: 'off', apiKey }, /^--api-key needs --api-tls files$/],
    [{ apiTls: 'files', apiCert: join(dir, 'none'), apiKey }, /^--api-cert: .* cannot be read \(ENOENT\)$/],
    [{ apiTls: 'files', apiCert: apiKey, apiKey }, /^--api-cert: .* does not hold a certificate in PEM$/],
    [{ apiTls: 'files', apiCert, apiKey: apiCert }, /^--api-key: .* does not hold an unencrypted private key in PEM$/],
    [{ apiTls: 'files', apiCert, apiKey: encrypted }, /does not hold an unencrypted private key/],
    [{ apiTls: 'files', apiCert, apiKey: other }, /^--api-key does not belong to the first certificate/],
  ];
  for (const [given, message] of fails) await assert.rejects(configOf(given), { code: 'VALIDATION', message });
});

test('--agent-files must be a folder that is there', async (t) => {
  const dir = await tempDir(t, 'config');
  const missing = join(dir, 'none');
  await assert.rejects(configOf({ agentFiles: missing }), /--agent-files: .*none cannot be read \(ENOENT\)/);
  await writeFile(missing, '');
  await assert.rejects(configOf({ agentFiles: missing }), /--agent-files: .*none is no folder/);
  assert.equal((await configOf({ agentFiles: dir })).agentFiles, dir);
  assert.equal((await configOf({})).agentFiles, undefined);
});

test('--proxy-protocol takes addresses and networks, and nothing else', async () => {
  const read = (list: string) => readConfig(readFlags(ServerFlags, { proxyProtocol: [list] }, {}));
  const { balancers } = await read('192.0.2.7,10.0.0.0/8,fd00::/8');
  for (const address of ['192.0.2.7', '10.1.2.3', '::ffff:10.1.2.3', 'fd12::1']) assert.ok(balancers?.has(address));
  for (const address of ['192.0.2.8', '11.0.0.1', '::1', undefined, 'nonsense']) assert.ok(!balancers?.has(address));
  assert.equal((await readConfig(readFlags(ServerFlags, {}, {}))).balancers, undefined);
  for (const wrong of ['localhost', '10.0.0.0/33', '192.0.2.7:80', 'fe80::1%eth0', '10.0.0/8', '/8', '1.2.3.4/']) {
    await assert.rejects(read(wrong), { code: 'VALIDATION', message: /--proxy-protocol/ });
  }
});

test('--trust-proxy-from takes the same, and only beside --trust-proxy', async () => {
  const { trustedProxies } = await configOf({ trustProxy: true, trustProxyFrom: ['127.0.0.2,10.0.0.0/8'] });
  assert.deepEqual(
    ['127.0.0.2', '10.9.9.9', '127.0.0.1'].map((address) => trustedProxies?.has(address)),
    [true, true, false],
  );
  assert.equal((await configOf({ trustProxy: true })).trustedProxies, undefined);
  await assert.rejects(
    configOf({ trustProxyFrom: ['10.0.0.1'] }),
    /^FairleadError: --trust-proxy-from needs --trust-proxy$/,
  );
  await assert.rejects(
    configOf({ trustProxy: true, trustProxyFrom: ['here'] }),
    /--trust-proxy-from "here" is neither/,
  );
});

test('ports in URLs are ports', async () => {
  const { publicApiPort, publicAgentPort } = await configOf({ publicApiPort: '443' });
  assert.deepEqual([publicApiPort, publicAgentPort], [443, undefined]);
  for (const publicAgentPort of ['0', '65536', 'https']) {
    await assert.rejects(async () => configOf({ publicAgentPort }), /--public-agent-port/);
  }
});

test('lives of certificates are durations within bounds', async () => {
  const config = await configOf({ agentCertLife: '12h', recoverWithin: '3d' });
  assert.deepEqual([config.agentCertLifeMs, config.recoverWithinMs], [12 * 3_600_000, 3 * 86_400_000]);
  assert.equal((await configOf({ agentCertLife: '10s' })).agentCertLifeMs, 10_000);
  for (const agentCertLife of ['9s', '91d', '0', '30', 'soon', '1.5h', '-1d']) {
    await assert.rejects(
      async () => await configOf({ agentCertLife }),
      { code: 'VALIDATION', message: /agent-cert-life/ },
      agentCertLife,
    );
  }
  await assert.rejects(async () => await configOf({ recoverWithin: 'x' }), {
    code: 'VALIDATION',
    message: /recover-within/,
  });
});

test('metrics are taken and kept for times within bounds, each at least as long as the one before', async () => {
  await assert.rejects(configOf({ metricsInterval: '2h' }), {
    code: 'VALIDATION',
    message: /--metrics-interval 2h is not/,
  });
  await assert.rejects(configOf({ metricsKeepSamples: '10m' }), {
    message: /--metrics-keep-samples 10m is not from 1h/,
  });
  await assert.rejects(configOf({ metricsKeepFine: '12h' }), { message: /each be at least as long as the one before/ });
  assert.equal((await configOf({ metricsInterval: '1s' })).metrics.intervalMs, 1_000);
});
