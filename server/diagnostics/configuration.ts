/** The configuration as it may be shown: no secret, no path to one, and of URLs no more than where they lead. */
import type { ServerConfig } from '../config.ts';
import { url } from '../public-hosts.ts';

export function shownConfiguration(config: ServerConfig): Record<string, unknown> {
  const { audit, metrics, events, balancers, caPassphraseFile, agentFiles, apiTls } = config;
  const days = (ms: number | undefined) => (ms === undefined ? 'never' : ms / 86_400_000);
  return {
    apiListen: url('tcp', config.apiListen.host, config.apiListen.port),
    agentListen: url('tcp', config.agentListen.host, config.agentListen.port),
    publicHosts: config.publicHosts,
    caKeysRestUnder: caPassphraseFile === undefined ? 'master.key' : 'a passphrase from a file',
    apiTls: apiTls.mode,
    trustProxy: config.trustProxy,
    proxyProtocol: balancers !== undefined,
    streamMemoryBytes: config.streamMemoryBytes,
    auditRetentionDays: days(audit.keepMs),
    auditFile: audit.file !== undefined,
    auditWebhook: audit.webhook === undefined ? null : audit.webhook.url.host,
    eventRetentionDays: days(events.keepMs),
    maxEvents: events.maxEvents,
    webhookLinkLocal: config.webhookLinkLocal,
    agentCertLifeDays: days(config.agentCertLifeMs),
    recoverWithinDays: days(config.recoverWithinMs),
    metricsIntervalMs: metrics.intervalMs,
    hawser: config.hawser,
    hawserRequestMs: config.hawserRequestMs,
    agentFiles: agentFiles !== undefined,
    logLevel: config.logLevel,
  };
}
