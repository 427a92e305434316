/** All tables of the store, and how they are had on one connection or transaction. */
import { type ApiTokenRows, apiTokensTable } from './api-tokens.ts';
import { type AuditCheckpoints, auditCheckpointsTable } from './audit-checkpoints.ts';
import { type AuditRows, auditTable } from './audit-rows.ts';
import { type AuditSinks, auditSinksTable } from './audit-sinks.ts';
import { type Certificates, certificatesTable } from './certificates.ts';
import { type EnrollmentTokens, enrollmentTokensTable } from './enrollment-tokens.ts';
import { type EventSources, eventSourcesTable } from './event-sources.ts';
import { type Events, eventsTable } from './events.ts';
import { type HawserStandardRows, hawserStandardTable } from './hawser-standard.ts';
import { type HawserTokenRows, hawserTokensTable } from './hawser-tokens.ts';
import { type HostMetricRows, hostMetricsTable } from './host-metrics.ts';
import { type HostTrust, hostTrustTable } from './host-trust.ts';
import { type HostUpgradeRows, hostUpgradesTable } from './host-upgrades.ts';
import { type Hosts, hostsTable } from './hosts.ts';
import { type OperatorCertificateRows, operatorCertificatesTable } from './operator-certificates.ts';
import { type Recoveries, recoveriesTable } from './recoveries.ts';
import { type ReleaseRows, releasesTable } from './releases.ts';
import { type RolloutRows, rolloutsTable } from './rollouts.ts';
import { type Settings, settingsTable } from './settings.ts';
import { type StackMigrationRows, stackMigrationsTable } from './stack-migrations.ts';
import { type StackRevisions, stackRevisionsTable } from './stack-revisions.ts';
import type { Db, Note } from './tables.ts';
import { type UserRows, usersTable } from './users.ts';
import { type VolumeTransferRows, volumeTransfersTable } from './volume-transfers.ts';
import { type Webhooks, webhooksTable } from './webhooks.ts';

/** The tables, on the store itself or inside one transaction. */
export interface Tables {
  readonly hosts: Hosts;
  readonly certificates: Certificates;
  readonly enrollmentTokens: EnrollmentTokens;
  readonly apiTokens: ApiTokenRows;
  readonly audit: AuditRows;
  readonly auditCheckpoints: AuditCheckpoints;
  readonly auditSinks: AuditSinks;
  readonly hostTrust: HostTrust;
  readonly settings: Settings;
  readonly operatorCertificates: OperatorCertificateRows;
  readonly users: UserRows;
  readonly recoveries: Recoveries;
  readonly volumeTransfers: VolumeTransferRows;
  readonly stackRevisions: StackRevisions;
  readonly stackMigrations: StackMigrationRows;
  readonly events: Events;
  readonly eventSources: EventSources;
  readonly webhooks: Webhooks;
  readonly hostMetrics: HostMetricRows;
  readonly hawserTokens: HawserTokenRows;
  readonly hawserStandard: HawserStandardRows;
  readonly releases: ReleaseRows;
  readonly hostUpgrades: HostUpgradeRows;
  readonly rollouts: RolloutRows;
}

/** @param note is told of what is revoked, before the caller goes on */
export function tablesOn(db: Db, note: Note): Tables {
  return {
    hosts: hostsTable(db, note),
    certificates: certificatesTable(db, note),
    enrollmentTokens: enrollmentTokensTable(db, note),
    apiTokens: apiTokensTable(db, note),
    audit: auditTable(db),
    auditCheckpoints: auditCheckpointsTable(db),
    auditSinks: auditSinksTable(db),
    hostTrust: hostTrustTable(db),
    settings: settingsTable(db),
    operatorCertificates: operatorCertificatesTable(db, note),
    users: usersTable(db, note),
    recoveries: recoveriesTable(db),
    volumeTransfers: volumeTransfersTable(db),
    stackRevisions: stackRevisionsTable(db),
    stackMigrations: stackMigrationsTable(db),
    events: eventsTable(db),
    eventSources: eventSourcesTable(db),
    webhooks: webhooksTable(db, note),
    hostMetrics: hostMetricsTable(db),
    hawserTokens: hawserTokensTable(db, note),
    hawserStandard: hawserStandardTable(db),
    releases: releasesTable(db),
    hostUpgrades: hostUpgradesTable(db),
    rollouts: rolloutsTable(db),
  };
}
