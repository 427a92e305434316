/** `host` and `info`: the hosts of the mesh. */
import type { Command } from 'commander';
import { printable } from '../../../shared/printable.ts';
import { type ApiClient, path } from '../api-client.ts';
import type { HostDetail, HostInfo, HostUpgradeView, HostView, RevokedHosts } from '../api-types.ts';
import { act, type Cli, collect } from '../commander.ts';
import { usageError } from '../errors.ts';
import { bytes, duration, relative } from '../format.ts';
import { type CliIo, write } from '../io.ts';
import { linkFacts } from '../link-facts.ts';
import { print, printRows } from '../output.ts';
import { type Column, facts } from '../table.ts';
import { upgradeText } from '../upgrades.ts';
import { addHostMetrics } from './metrics.ts';
import { addPing } from './ping.ts';
import { addRecoveries } from './recoveries.ts';

/** The columns of a list of hosts; ages are taken at `now`, ms since 1970. */
function hostColumns(now: number): Column<HostView>[] {
  return [
    ['NAME', (host) => host.name],
    ['STATE', (host) => (host.quarantine && host.state !== 'revoked' ? 'quarantined' : host.state)],
    ['DOCKER', dockerText],
    ['OS/ARCH', (host) => [host.os, host.arch].filter(Boolean).join('/')],
    ['AGENT', (host) => host.agentVersion ?? undefined],
    ['TAGS', (host) => host.tags.join(',')],
    ['LAST SEEN', (host) => relative(host.lastSeenAt, now)],
    ['ID', (host) => host.id],
  ];
}

function dockerText(host: HostView): string | undefined {
  if (host.state !== 'online' || !host.docker) return undefined;
  return host.docker.reachable ? (host.docker.version ?? 'reachable') : 'unreachable';
}

export function addHost(root: Command, cli: Cli): void {
  const host = root.command('host').description('the hosts of the mesh');
  addReads(host, cli);
  addPing(host, cli);
  addHostMetrics(host, cli);
  addChanges(host, cli);
  addEnds(host, cli);
  addRecoveries(host, cli);
}

interface HostsOptions {
  tag?: string[];
  state?: string[];
  name?: string;
  os?: string;
}

function addReads(host: Command, cli: Cli): void {
  const ls = host
    .command('ls')
    .description('list hosts')
    .option('--tag <tag>', 'only hosts with this tag; may repeat', collect)
    .option('--state <state>', 'only online, offline, pending or revoked ones; may repeat', collect)
    .option('--name <pattern>', 'only those of this name; * and ? stand for other characters')
    .option('--os <os>', 'only those with this system');
  act<HostsOptions>(ls, cli, async ({ api, io, options }) => {
    const { tag, state, name, os } = options;
    const hosts = await api.list<HostView>('/api/v1/hosts', { query: { tag, state, name, os } });
    await printRows(io, options, hosts, hostColumns(io.now()));
  });

  const show = host.command('show').description('show one host').argument('<host>', 'its name or id');
  act<object, [string]>(show, cli, async ({ api, io, options }, ref) => {
    const found = await api.get<HostDetail>(path`/api/v1/hosts/${ref}`);
    await print(io, options, found, (value) => hostFacts(value, io.now()));
  });
}

function hostFacts(host: HostDetail, now: number): string {
  const since = (time: string | null | undefined) => (time ? `${time} (${relative(time, now)})` : undefined);
  return facts([
    ['Name', host.name],
    ['Id', host.id],
    ['Kind', host.kind],
    ['State', host.state],
    ['Quarantined', since(host.quarantine?.at)],
    ['Because', host.quarantine?.reason],
    ['Connected', since(host.connectedAt)],
    ['Last seen', since(host.lastSeenAt)],
    ['Hostname', host.hostname ?? undefined],
    ['OS', [host.os, host.arch].filter(Boolean).join('/')],
    ['Agent', host.agentVersion ?? undefined],
    ['Upgrade', host.upgrade ? upgradeFact(host.upgrade) : undefined],
    ['Docker', dockerText(host)],
    ['Docker says', host.docker?.reason],
    ['Tags', host.tags.join(', ')],
    ['Allows only', host.policy?.allow.join(', ')],
    ['Denies', host.policy?.deny.join(', ')],
    ['Certificate', host.certificate ? `${host.certificate.serial}, until ${host.certificate.notAfter}` : undefined],
    ...linkFacts(host.link ?? null),
    ['Revoked', since(host.revokedAt)],
    ['Reason', host.revokeReason ?? undefined],
  ]);
}

function upgradeFact(upgrade: HostUpgradeView): string | undefined {
  const text = upgradeText(upgrade);
  return upgrade.wished === null ? text : `to ${upgrade.wished.version}: ${text}`;
}

function addChanges(host: Command, cli: Cli): void {
  const rename = host.command('rename').description('give a host another name').argument('<host>').argument('<name>');
  act<object, [string, string]>(rename, cli, async ({ api, io, options }, ref, name) => {
    const changed = await api.call<HostView>('PATCH', path`/api/v1/hosts/${ref}`, { body: { name } });
    await print(io, options, changed, (value) => `${ref} is now ${value.name}.\n`);
  });

  const tag = host
    .command('tag')
    .description('add or remove tags of a host')
    .argument('<host>')
    .option('--add <tag>', 'a tag to add; may repeat', collect)
    .option('--remove <tag>', 'a tag to remove; may repeat', collect);
  act<{ add?: string[]; remove?: string[] }, [string]>(tag, cli, async ({ api, io, options }, ref) => {
    const { add = [], remove = [] } = options;
    if (add.length + remove.length === 0) throw usageError('say which tags, with --add TAG or --remove TAG');
    const body = { ...(add.length > 0 && { addTags: add }), ...(remove.length > 0 && { removeTags: remove }) };
    const changed = await api.call<HostView>('PATCH', path`/api/v1/hosts/${ref}`, { body });
    await print(io, options, changed, (value) => `${value.name}: ${value.tags.join(', ') || 'no tags'}\n`);
  });
}

function addEnds(host: Command, cli: Cli): void {
  const revoke = host
    .command('revoke')
    .description("revoke hosts' certificates and close their sessions at once")
    .argument('[hosts...]', 'their names or ids')
    .option('--tag <tag>', 'all hosts with this tag')
    .option('--reason <text>', 'why, for the audit log and the host', 'revoked by an administrator');
  act<RevokeOptions, [string[]]>(revoke, cli, async ({ api, io, options }, refs) => {
    if (refs.length === 0 && options.tag === undefined) throw usageError('say which hosts, by name or with --tag TAG');
    if (!(await revokeHosts(api, io, refs, options))) cli.exitCode = 1;
  });

  const rm = host.command('rm').description('revoke a host and forget it').argument('<host>');
  act<object, [string]>(rm, cli, async ({ api, io }, ref) => {
    await api.call('DELETE', path`/api/v1/hosts/${ref}`);
    await write(io.stdout, `Removed ${ref}.\n`);
  });
}

interface RevokeOptions {
  reason: string;
  tag?: string;
}

/** @returns whether all of them were there */
async function revokeHosts(api: ApiClient, io: CliIo, refs: string[], options: RevokeOptions): Promise<boolean> {
  const { reason, tag } = options;
  const [only] = refs;
  if (only !== undefined && refs.length === 1 && tag === undefined) {
    await api.post(path`/api/v1/hosts/${only}/revoke`, { reason });
    await write(io.stdout, `Revoked ${only}.\n`);
    return true;
  }
  const body = { hosts: refs, ...(tag === undefined ? {} : { tag }), reason };
  const { hosts, notFound } = await api.post<RevokedHosts>('/api/v1/revocations', body);
  if (hosts.length === 0) await write(io.stdout, 'Revoked no host.\n');
  for (const { name } of hosts) await write(io.stdout, `Revoked ${printable(name)}.\n`);
  for (const ref of notFound.hosts) await write(io.stderr, `There is no host ${printable(ref)}.\n`);
  return notFound.hosts.length === 0;
}

export function addInfo(root: Command, cli: Cli): void {
  const info = root.command('info').description('ask a host about itself and its Docker').argument('<host>');
  act<object, [string]>(info, cli, async ({ api, io, options }, ref) => {
    const found = await api.get<HostInfo>(path`/api/v1/hosts/${ref}/info`);
    await print(io, options, found, infoFacts);
  });
}

function infoFacts(info: HostInfo): string {
  return facts([
    ['Hostname', info.hostname],
    ['OS', `${info.os}/${info.arch}`],
    ['Kernel', info.kernel],
    ['CPUs', info.cpus],
    ['Memory', bytes(info.memoryBytes)],
    ['Up', info.uptimeSeconds === undefined ? undefined : duration(info.uptimeSeconds * 1000)],
    ['Agent', info.agentVersion],
    ['Docker', info.docker.reachable ? (info.docker.version ?? 'reachable') : 'unreachable'],
    ['Docker says', info.docker.reason],
    ['Containers', number(info.dockerInfo?.['Containers'])],
    ['Images', number(info.dockerInfo?.['Images'])],
  ]);
}

function number(value: unknown): number | undefined {
  return typeof value === 'number' ? value : undefined;
}
