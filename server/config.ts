/** The configuration of fairlead-server: what its flags stand for, and the checks that go beyond their schema. */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { resolve } from 'node:path';
import { parseDuration } from '../shared/duration.ts';
import type { LogLevel } from '../shared/flags.ts';
import { type ReleaseKeys, readReleaseKeys } from '../shared/releases/signature.ts';
import { type AuditConfig, parseAudit, parseRetention } from './audit-flags.ts';
import { type Balancers, parseBalancers } from './doors/balancers.ts';
import type { MetricsConfig } from './host-metrics/host-metrics.ts';
import { parseMetrics } from './metrics-flags.ts';
import { invalid, parsePem, readSmallFile, requireFolder, requireReadable } from './named-files.ts';
import type { ListenAddress } from './public-hosts.ts';
import type { ServerFlags } from './server-flags.ts';
import { machineBytes, streamMemoryBytes } from './stream-memory.ts';

/** Shorter lives leave no time to renew, longer ones none to notice a stolen key. */
const MIN_AGENT_CERT_LIFE_MS = 10_000;
const MAX_AGENT_CERT_LIFE_MS = 90 * 24 * 3_600_000;
const MAX_HAWSER_REQUEST_MS = 5 * 60_000;
const MAX_DNS_NAME_CHARS = 253;
const DNS_LABEL = /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/i;

/** All that the server is told from outside. Holds paths, not secrets. */
export interface ServerConfig {
  /** Absolute. */
  readonly dataDir: string;
  readonly apiListen: ListenAddress;
  readonly agentListen: ListenAddress;
  /** Empty: the server finds out. */
  readonly publicHosts: readonly string[];
  /** What stands in URLs in the place of the ports listened on. */
  readonly publicApiPort?: number;
  readonly publicAgentPort?: number;
  readonly caPassphraseFile: string | undefined;
  /** What to put the CA's keys under instead of serving: the passphrase in a file, or a master key. */
  readonly changeCaSecret?: { readonly passphraseFile: string } | 'master-key';
  /** What to do about an expired intermediate instead of serving: absolute paths. */
  readonly intermediate?: { readonly requestFile: string } | { readonly importFile: string };
  readonly apiTls: ApiTls;
  readonly trustProxy: boolean;
  /** Those whose `X-Forwarded-For` counts; absent: of whoever connects. */
  readonly trustedProxies?: Balancers;
  /** Those whose connections must begin with a PROXY header. */
  readonly balancers?: Balancers;
  /** What the streams of all agents may take together. */
  readonly streamMemoryBytes: number;
  readonly audit: AuditConfig;
  /** How long events are kept, in ms (undefined: for ever), and how many at most. */
  readonly events: { readonly keepMs: number | undefined; readonly maxEvents: number };
  /** Whether webhooks may go where a machine talks to what it runs on. */
  readonly webhookLinkLocal: boolean;
  /** How long agents' certificates live. */
  readonly agentCertLifeMs: number;
  /** How long ago a certificate may have expired for its host to get a new one without an administrator; 0: never. */
  readonly recoverWithinMs: number;
  readonly metrics: MetricsConfig;
  /** Whether agents of Hawser may connect. */
  readonly hawser: boolean;
  /** How long hosts of Hawser may take for an answer that is not streamed. */
  readonly hawserRequestMs: number;
  /** A folder with executables of the agent; absolute. */
  readonly agentFiles?: string;
  /** Files with public keys for releases; absolute. None: no signature is checked here. */
  readonly releaseKeyFiles?: readonly string[];
  readonly logLevel: LogLevel;
  readonly resetAdminToken: boolean;
}

export type ApiTls =
  | { readonly mode: 'internal' | 'off' }
  | { readonly mode: 'files'; readonly certFile: string; readonly keyFile: string };

/**
 * The configuration that `flags` stand for. Every file that it names can be read and holds what it should.
 * @throws FairleadError VALIDATION that names the flag
 */
export async function readConfig(flags: ServerFlags): Promise<ServerConfig> {
  const apiListen = parseListen('--api-listen', flags.apiListen);
  const agentListen = parseListen('--agent-listen', flags.agentListen);
  if (apiListen.port !== 0 && apiListen.port === agentListen.port && apiListen.host === agentListen.host) {
    throw invalid(`--api-listen and --agent-listen are both ${flags.apiListen}: they need two ports`);
  }
  const balancers = parseBalancers('--proxy-protocol', flags.proxyProtocol);
  const trustedProxies = parseBalancers('--trust-proxy-from', flags.trustProxyFrom);
  if (trustedProxies !== undefined && !flags.trustProxy) throw invalid('--trust-proxy-from needs --trust-proxy');
  const config: ServerConfig = {
    dataDir: resolve(flags.dataDir),
    apiListen,
    agentListen,
    publicHosts: flags.publicHost.map(parsePublicHost),
    ...(flags.publicApiPort === undefined ? {} : { publicApiPort: flags.publicApiPort }),
    ...(flags.publicAgentPort === undefined ? {} : { publicAgentPort: flags.publicAgentPort }),
    caPassphraseFile: flags.caPassphraseFile === undefined ? undefined : resolve(flags.caPassphraseFile),
    ...parseSecretChange(flags),
    ...parseIntermediate(flags),
    apiTls: parseApiTls(flags),
    trustProxy: flags.trustProxy,
    ...(trustedProxies === undefined ? {} : { trustedProxies }),
    ...(balancers === undefined ? {} : { balancers }),
    streamMemoryBytes: streamMemoryBytes(flags.streamMemory, machineBytes()),
    audit: parseAudit(flags),
    events: { keepMs: parseRetention('--event-retention', flags.eventRetention), maxEvents: flags.maxEvents },
    webhookLinkLocal: flags.webhookLinkLocal,
    agentCertLifeMs: parseAgentCertLife(flags.agentCertLife),
    recoverWithinMs: parseDuration(flags.recoverWithin) ?? 0,
    metrics: parseMetrics(flags),
    hawser: flags.hawser === 'on',
    hawserRequestMs: parseHawserRequestTimeout(flags.hawserRequestTimeout),
    ...(flags.agentFiles === undefined ? {} : { agentFiles: resolve(flags.agentFiles) }),
    ...(flags.releaseKey.length === 0 ? {} : { releaseKeyFiles: flags.releaseKey.map((file) => resolve(file)) }),
    logLevel: flags.logLevel,
    resetAdminToken: flags.resetAdminToken,
  };
  // Only looked at: it may be a pipe, which can be read once.
  if (config.caPassphraseFile !== undefined) await requireReadable('--ca-passphrase-file', config.caPassphraseFile);
  if (typeof config.changeCaSecret === 'object') {
    await requireReadable('--change-ca-passphrase-file', config.changeCaSecret.passphraseFile);
  }
  if (config.agentFiles !== undefined) await requireFolder('--agent-files', config.agentFiles);
  await readTrustedReleaseKeys(config);
  await readApiCertificate(config);
  await readAuditWebhook(config);
  return config;
}

/** Where the audit log is posted, with the content of the files that the flags name. @throws FairleadError VALIDATION */
export async function readAuditWebhook({
  audit: { webhook },
}: Pick<ServerConfig, 'audit'>): Promise<{ url: URL; secret: string | undefined; ca: string | undefined } | undefined> {
  if (webhook === undefined) return undefined;
  const { url, secretFile, caFile } = webhook;
  const read = async (flag: string, path: string | undefined) =>
    path === undefined ? undefined : await readSmallFile(`--audit-webhook-${flag}`, path);
  const secret = (await read('secret-file', secretFile))?.trim();
  if (secret === '') throw invalid(`--audit-webhook-secret-file: ${secretFile} is empty`);
  const ca = await read('ca-file', caFile);
  if (ca !== undefined)
    parsePem('--audit-webhook-ca-file', caFile ?? '', 'a certificate in PEM', () => new X509Certificate(ca));
  return { url, secret, ca };
}

/**
 * The passphrase of the CA's key, if one is configured: its file without the line break at the end. To be read once.
 * @throws FairleadError VALIDATION
 */
export async function readCaPassphrase(config: Pick<ServerConfig, 'caPassphraseFile'>): Promise<string | undefined> {
  if (config.caPassphraseFile === undefined) return undefined;
  return await readPassphrase('--ca-passphrase-file', config.caPassphraseFile);
}

/**
 * The passphrase that the CA's keys are to be put under; undefined for a master key.
 * @throws FairleadError VALIDATION
 */
export async function readNewCaPassphrase({
  changeCaSecret,
}: Pick<ServerConfig, 'changeCaSecret'>): Promise<string | undefined> {
  if (typeof changeCaSecret !== 'object') return undefined;
  return await readPassphrase('--change-ca-passphrase-file', changeCaSecret.passphraseFile);
}

async function readPassphrase(name: string, path: string): Promise<string> {
  const passphrase = (await readSmallFile(name, path)).replace(/\r?\n$/, '');
  if (passphrase === '') throw invalid(`${name}: ${path} is empty`);
  return passphrase;
}

/** The API's own certificate chain and key in PEM, if they are to come from files. */
export async function readApiCertificate({
  apiTls,
}: Pick<ServerConfig, 'apiTls'>): Promise<{ cert: string; key: string } | undefined> {
  if (apiTls.mode !== 'files') return undefined;
  const cert = await readSmallFile('--api-cert', apiTls.certFile);
  const key = await readSmallFile('--api-key', apiTls.keyFile);
  const certificate = parsePem('--api-cert', apiTls.certFile, 'a certificate in PEM', () => firstOfChain(cert));
  const privateKey = parsePem('--api-key', apiTls.keyFile, 'an unencrypted private key in PEM', () =>
    createPrivateKey(key),
  );
  if (!certificate.checkPrivateKey(privateKey)) {
    throw invalid('--api-key does not belong to the first certificate in --api-cert');
  }
  return { cert, key };
}

/** @throws FairleadError VALIDATION */
export function parseListen(name: string, listen: string): ListenAddress {
  const [, bracketed, plain, digits] = /^(?:\[([^\]]*)\]|([^:]*)):(\d{1,5})$/.exec(listen) ?? [];
  const port = Number(digits);
  const fits = bracketed === undefined ? plain !== undefined && isHost(plain) : isIP(bracketed) === 6;
  if (!fits || !(port <= 65_535)) {
    throw invalid(
      `${name} ${JSON.stringify(listen)} is not HOST:PORT, as in 0.0.0.0:8440, localhost:8440 or [::]:8440`,
    );
  }
  return { host: bracketed ?? plain ?? '', port };
}

/** @throws FairleadError VALIDATION */
function parseAgentCertLife(text: string): number {
  const ms = parseDuration(text) ?? 0;
  if (ms >= MIN_AGENT_CERT_LIFE_MS && ms <= MAX_AGENT_CERT_LIFE_MS) return ms;
  throw invalid(`--agent-cert-life ${text} is not from 10s to 90d`);
}

/** @throws FairleadError VALIDATION */
function parseHawserRequestTimeout(text: string): number {
  const ms = parseDuration(text) ?? 0;
  if (ms >= 1_000 && ms <= MAX_HAWSER_REQUEST_MS) return ms;
  throw invalid(`--hawser-request-timeout ${text} is not from 1s to 5m`);
}

/** IPv6 addresses may stand in brackets. @throws FairleadError VALIDATION */
function parsePublicHost(host: string): string {
  const address = host.replace(/^\[(.*)\]$/, '$1');
  if (isIP(address) === 6 && !address.includes('%')) return address;
  if (isHost(host)) return host;
  throw invalid(`--public-host ${JSON.stringify(host)} is neither a DNS name nor an IP address`);
}

function isHost(host: string): boolean {
  if (isIP(host) === 4) return true;
  const labels = host.split('.');
  // A last label of digits alone would make an address, and one that is not valid.
  return (
    host.length <= MAX_DNS_NAME_CHARS &&
    labels.every((part) => DNS_LABEL.test(part)) &&
    !/^\d+$/.test(labels.at(-1) ?? '')
  );
}

/** @throws FairleadError VALIDATION */
function parseSecretChange({
  changeCaPassphraseFile: path,
  changeCaToMasterKey,
}: ServerFlags): Pick<ServerConfig, 'changeCaSecret'> {
  if (path !== undefined && changeCaToMasterKey) {
    throw invalid('--change-ca-passphrase-file and --change-ca-to-master-key exclude each other');
  }
  if (path !== undefined) return { changeCaSecret: { passphraseFile: resolve(path) } };
  return changeCaToMasterKey ? { changeCaSecret: 'master-key' } : {};
}

/** @throws FairleadError VALIDATION */
function parseIntermediate({ caRequestFile, caImportFile }: ServerFlags): Pick<ServerConfig, 'intermediate'> {
  if (caRequestFile !== undefined && caImportFile !== undefined) {
    throw invalid('--ca-request-file and --ca-import-file exclude each other: the request is signed in between');
  }
  if (caRequestFile !== undefined) return { intermediate: { requestFile: resolve(caRequestFile) } };
  return caImportFile === undefined ? {} : { intermediate: { importFile: resolve(caImportFile) } };
}

/** @throws FairleadError VALIDATION */
function parseApiTls({ apiTls, apiCert, apiKey }: ServerFlags): ApiTls {
  if (apiTls === 'files') {
    if (apiCert === undefined || apiKey === undefined) {
      throw invalid(`--api-tls files needs ${apiCert === undefined ? '--api-cert' : '--api-key'}`);
    }
    return { mode: 'files', certFile: resolve(apiCert), keyFile: resolve(apiKey) };
  }
  const unused = apiCert !== undefined ? '--api-cert' : apiKey !== undefined ? '--api-key' : undefined;
  if (unused !== undefined) throw invalid(`${unused} needs --api-tls files`);
  return { mode: apiTls };
}

/** The first certificate of a chain whose others can be read, too: a file may be met half written. */
function firstOfChain(pem: string): X509Certificate {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]*(-----END CERTIFICATE-----)?/g) ?? [];
  const [first] = blocks.map((block) => new X509Certificate(block));
  if (first === undefined) throw new Error('there is no certificate');
  return first;
}

/** The keys that releases must be signed by; none if any may be. @throws FairleadError VALIDATION */
export async function readTrustedReleaseKeys({
  releaseKeyFiles = [],
}: Pick<ServerConfig, 'releaseKeyFiles'>): Promise<ReleaseKeys> {
  const keys = new Map<string, KeyObject>();
  for (const file of releaseKeyFiles) {
    const found = readReleaseKeys(await readSmallFile('--release-key', file), `--release-key: ${file}`);
    if (found.size === 0) throw invalid(`--release-key: ${file} holds no public key`);
    for (const [id, key] of found) keys.set(id, key);
  }
  return keys;
}

/** What an offline root has signed, in PEM. @throws FairleadError VALIDATION */
export async function readCaImport(path: string): Promise<string> {
  return await readSmallFile('--ca-import-file', path);
}
