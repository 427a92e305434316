/** `agent`: releases of the agent on the server, and which of them hosts are to run. */
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { Readable, Transform } from 'node:stream';
import type { Command } from 'commander';
import { count } from '../../../shared/doctor/check.ts';
import { fromWireError } from '../../../shared/errors.ts';
import { printable } from '../../../shared/printable.ts';
import { type ApiClient, path } from '../api-client.ts';
import type { HostUpgradeView, HostView, ReleaseView, WishView } from '../api-types.ts';
import { type ActionContext, act, type Cli, collect, seconds, wholeNumber } from '../commander.ts';
import { confirm } from '../confirm.ts';
import { forEach } from '../each.ts';
import { CliError, usageError } from '../errors.ts';
import { bytes, relative } from '../format.ts';
import { type CliIo, write } from '../io.ts';
import { print, printRows } from '../output.ts';
import { checkSigned, compressedFile, readKeyFiles, readSigned, type SignedPlatform } from '../release-files.ts';
import type { Column } from '../table.ts';
import { untilUpgraded, upgradeText } from '../upgrades.ts';

const RELEASES = '/api/v1/agent-releases';
const DEFAULT_WAIT_SECONDS = 1_800;

export function addAgent(root: Command, cli: Cli): void {
  const agent = root.command('agent').description('releases of the agent, and the upgrade of hosts to them');
  addReleases(agent, cli);
  addUpgrade(agent, cli);
  addUpgrades(agent, cli);
}

function addReleases(agent: Command, cli: Cli): void {
  const release = agent.command('release').description('releases of the agent on the server');
  const add = release
    .command('add')
    .description('upload a signed release')
    .argument('<dir>', 'the folder that build:agent wrote and fairlead release sign signed')
    .option('--release-key <file>', 'check it by this public key first; may repeat', collect);
  act<{ releaseKey?: string[] }, [string]>(add, cli, async ({ api, io, options }, dir) => {
    const keys = options.releaseKey === undefined ? undefined : await readKeyFiles(options.releaseKey);
    const platforms = await readSigned(dir);
    for (const platform of platforms) await checkSigned(platform, keys);
    const added = await addRelease(api, io, platforms, options.json === true);
    await print(io, options, added, ({ version, sequence, state, signatures }) => {
      const how = signatures === 'verified' ? 'verified by a key of the server' : 'checked by agents alone';
      return `${version} (${sequence}) is ${state}; its signatures are ${how}.\n`;
    });
  });

  act(release.command('ls').description('list them, the newest first'), cli, async ({ api, io, options }) => {
    const { items } = await api.get<{ items: ReleaseView[] }>(RELEASES);
    const now = io.now();
    const columns: Column<ReleaseView>[] = [
      ['SEQUENCE', (row) => row.sequence],
      ['VERSION', (row) => row.version],
      ['STATE', (row) => row.state],
      ['PLATFORMS', (row) => row.files.map(({ os, arch }) => `${os}/${arch}`).join(',')],
      ['SIGNED BY', (row) => [...new Set(row.files.map(({ keyId }) => keyId))].join(',')],
      ['SIGNATURES', (row) => (row.downgrade ? `${row.signatures}, downgrade` : row.signatures)],
      ['ADDED', (row) => relative(row.createdAt, now)],
    ];
    await printRows(io, options, items, columns);
  });

  const rm = release.command('rm').description('remove one that nothing needs');
  rm.argument('<sequence>', 'as agent release ls shows it', wholeNumber(1));
  act<object, [number]>(rm, cli, async ({ api, io }, sequence) => {
    await api.call('DELETE', path`/api/v1/agent-releases/${String(sequence)}`);
    await write(io.stdout, `Removed the release ${sequence}.\n`);
  });
}

async function addRelease(
  api: ApiClient,
  io: CliIo,
  platforms: readonly SignedPlatform[],
  isJson: boolean,
): Promise<ReleaseView> {
  let release = await api.post<ReleaseView>(RELEASES, { files: platforms.map(({ signed }) => signed) });
  for (const platform of platforms) {
    const { sequence, os, arch } = platform.signed;
    const known = release.files.find((file) => file.os === os && file.arch === arch);
    // Of an upload that was broken off before the end.
    if (known?.storedAt) continue;
    const file = compressedFile(platform);
    const { size } = await stat(file);
    const content = { type: 'application/gzip', bytes: progress(io, isJson, `${os}/${arch}`, file, size) };
    release = await api.call('PUT', path`/api/v1/agent-releases/${String(sequence)}/${os}/${arch}`, { content });
  }
  return release;
}

/** The file, told of as it goes: a line that is written over on a terminal, and one at the end elsewhere. */
function progress(io: CliIo, isJson: boolean, what: string, file: string, size: number): Readable {
  const source = createReadStream(file);
  if (isJson) return source;
  let sent = 0;
  const isLine = io.stderr.isTTY === true;
  const counter = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      sent += chunk.length;
      if (isLine) io.stderr.write(`\r\u001b[K${what}: ${bytes(sent)} of ${bytes(size)}`);
      done(null, chunk);
    },
    flush(done) {
      io.stderr.write(`${isLine ? '\r\u001b[K' : ''}${what}: ${bytes(size)}\n`);
      done();
    },
  });
  source.on('error', (error) => counter.destroy(error));
  return Readable.from(source.pipe(counter));
}

interface UpgradeOptions {
  all?: boolean;
  tag?: string[];
  to?: string;
  sequence?: number;
  wait?: boolean;
  timeout?: number;
  cancel?: boolean;
  yes?: boolean;
}

function addUpgrade(agent: Command, cli: Cli): void {
  const upgrade = agent
    .command('upgrade')
    .description('have hosts replace their agent by a release, the newest one unless said otherwise')
    .argument('[hosts...]', 'their names or ids')
    .option('--all', 'all hosts with an agent of Fairlead')
    .option('--tag <tag>', 'those with this tag; may repeat, for those with all of the tags', collect)
    .option('--to <version>', 'the newest release of this version')
    .option('--sequence <number>', 'the sequence of the release', wholeNumber(1))
    .option('--wait', 'until all have ended')
    .option('--timeout <duration>', 'how long to wait (default: 30m)', seconds)
    .option('--cancel', 'take back what was wished')
    .option('-y, --yes', 'do not ask')
    .addHelpText('after', '\nFor many hosts: `fairlead rollout start` goes step by step, and stops at failures.');
  act<UpgradeOptions, [string[]]>(upgrade, cli, async (context, refs) => {
    const hosts = await chosenHosts(context, refs);
    if (hosts.length === 0) throw new CliError('there is no such host');
    if (context.options.cancel === true) return await cancelAll(cli, context, hosts);
    await upgradeAll(cli, context, hosts);
  });
}

/** The names of those that are meant. @throws CliError */
async function chosenHosts({ api, io, options }: ActionContext<UpgradeOptions>, refs: string[]): Promise<string[]> {
  const { all = false, tag, cancel = false, yes } = options;
  if (refs.length > 0 && !all && tag === undefined) return refs;
  if (refs.length > 0 || (all && tag !== undefined)) throw usageError('say which hosts by name, by --tag or by --all');
  if (!all && tag === undefined) throw usageError('say which hosts: by name, by --tag TAG or by --all');
  const found = await api.list<HostView>('/api/v1/hosts', { query: { tag } });
  const names = found.filter(({ kind, state }) => kind === 'native' && state !== 'revoked').map(({ name }) => name);
  const what = cancel ? 'take back what is wished for' : 'replace';
  const warning = `This will ${what} the ${names.length === 1 ? 'agent' : 'agents'} of ${count(names.length, 'host')}.`;
  if (names.length > 0) await confirm(io, warning, yes, '--yes');
  return names;
}

async function upgradeAll(
  cli: Cli,
  { api, io, options }: ActionContext<UpgradeOptions>,
  hosts: string[],
): Promise<void> {
  const { to: version, sequence, wait = false, timeout = DEFAULT_WAIT_SECONDS, json = false } = options;
  const choice = { ...(version === undefined ? {} : { version }), ...(sequence === undefined ? {} : { sequence }) };
  const deadline = io.now() + timeout * 1000;
  const wishes: WishView[] = [];
  await forEach(cli, hosts, async (host) => {
    const wish = await api.post<WishView>(path`/api/v1/hosts/${host}/upgrade`, choice);
    wishes.push(wish);
    if (!json) await write(io.stdout, `${printable(wishText(wish))}\n`);
  });
  if (!wait) return json ? await print(io, options, wishes, () => '') : undefined;
  const ended: { host: string; upgrade: HostUpgradeView }[] = [];
  await forEach(
    cli,
    wishes.filter(({ state }) => state !== 'current').map(({ host }) => host.name),
    async (host) => {
      const upgrade = await untilUpgraded(api, io, host, deadline);
      ended.push({ host, upgrade });
      const { error } = upgrade;
      if (error !== null) throw fromWireError({ code: error.code, message: error.detail });
      if (!json) await write(io.stdout, `${printable(`${host}: ${upgradeText(upgrade)}`)}\n`);
    },
  );
  if (json) await print(io, options, ended, () => '');
}

function wishText({ host, from, to, state }: WishView): string {
  if (state === 'current') return `${host.name}: runs ${to} already`;
  return `${host.name}: ${from} to ${to}, ${state === 'wished' ? 'offered when it comes' : state}`;
}

async function cancelAll(cli: Cli, { api, io }: ActionContext<UpgradeOptions>, hosts: string[]): Promise<void> {
  await forEach(cli, hosts, async (host) => {
    await api.call('DELETE', path`/api/v1/hosts/${host}/upgrade`);
    await write(io.stdout, `${printable(host)}: taken back\n`);
  });
}

function addUpgrades(agent: Command, cli: Cli): void {
  const upgrades = agent
    .command('upgrades')
    .description('which version each host runs, and how far its upgrade is')
    .option('--tag <tag>', 'only hosts with this tag; may repeat, for those with all of the tags', collect);
  act<{ tag?: string[] }>(upgrades, cli, async ({ api, io, options }) => {
    const hosts = await api.list<HostView>('/api/v1/hosts', { query: { tag: options.tag } });
    const native = hosts.filter(({ upgrade }) => upgrade !== null);
    const now = io.now();
    await printRows(io, options, native, [
      ['HOST', (host) => host.name],
      ['STATE', (host) => host.state],
      ['AGENT', (host) => host.agentVersion ?? undefined],
      ['UPGRADE', (host) => host.upgrade?.wished?.version],
      ['HOW FAR', (host) => (host.upgrade === null ? undefined : upgradeText(host.upgrade))],
      ['CHANGED', (host) => relative(host.upgrade?.changedAt, now)],
    ]);
  });
}
