/** `hawser add`, `ls`, `show` and `set`: hosts whose agents of Hawser listen, and which the server dials. */
import { type Command, Option } from 'commander';
import { path } from '../api-client.ts';
import type { HawserHostView } from '../api-types.ts';
import { act, type Cli, collect } from '../commander.ts';
import { usageError } from '../errors.ts';
import { relative } from '../format.ts';
import type { CliIo } from '../io.ts';
import { print, printRows } from '../output.ts';
import { facts } from '../table.ts';
import { readText } from './files.ts';

const PATH = '/api/v1/hawser-hosts';
const AGENT_TOKEN = "a file with the agent's TOKEN";

interface WayOptions {
  url?: string;
  tokenFile?: string;
  caFile?: string;
  pin?: string;
  proxy?: string;
  proxyFile?: string;
  insecureHttp?: boolean;
}

interface AddOptions extends WayOptions {
  tag?: string[];
}

interface SetOptions extends WayOptions {
  systemCa?: boolean;
  direct?: boolean;
}

/** Adds the commands below `hawser`. */
export function addDialled(hawser: Command, cli: Cli): void {
  const add = hawser
    .command('add')
    .description('make a host of an agent of Hawser that listens (its Standard mode), and dial it from now on')
    .argument('<name>', 'of the host')
    .requiredOption('--url <url>', 'where the agent listens: https://nas:2376')
    .requiredOption('--token-file <file>', AGENT_TOKEN)
    .option('--tag <tag>', 'of the host; may repeat', collect);
  act<AddOptions, [string]>(addWay(add), cli, async ({ api, io, options }, name) => {
    const { tag } = options;
    const body = { name, ...(await wayOf(options)), ...(tag === undefined ? {} : { tags: tag }) };
    await show(io, options, await api.post<HawserHostView>(PATH, body));
  });

  act(hawser.command('ls').description('list the hosts that the server dials'), cli, async ({ api, io, options }) => {
    await printRows(io, options, await api.list<HawserHostView>(PATH), [
      ['HOST', ({ host }) => host.name],
      ['URL', ({ url }) => url],
      ['STATE', ({ online }) => (online ? 'online' : 'offline')],
      ['CHECKED', ({ checkedAt }) => relative(checkedAt, io.now())],
      ['ERROR', ({ error }) => error ?? undefined],
    ]);
  });

  const one = hawser.command('show').description('show how a host is dialled, and how that goes').argument('<host>');
  act<object, [string]>(one, cli, async ({ api, io, options }, host) => {
    await show(io, options, await api.get<HawserHostView>(path`/api/v1/hawser-hosts/${host}`));
  });

  addSet(hawser, cli);
}

function addSet(hawser: Command, cli: Cli): void {
  const set = hawser
    .command('set')
    .description('change how a host is dialled, and dial it anew; `host rm` removes it')
    .argument('<host>')
    .option('--url <url>', 'another address, which needs --token-file as well')
    .option('--token-file <file>', AGENT_TOKEN)
    .addOption(new Option('--system-ca', 'trust the CAs of the system again').conflicts(['caFile', 'pin']))
    .addOption(new Option('--direct', 'go through no proxy any more').conflicts(['proxy', 'proxyFile']));
  act<SetOptions, [string]>(addWay(set), cli, async ({ api, io, options }, host) => {
    const body = {
      ...(await wayOf(options)),
      ...(options.systemCa === true ? { ca: null, pin: null } : {}),
      ...(options.direct === true ? { proxy: null } : {}),
    };
    if (Object.keys(body).length === 0) throw usageError('nothing is to be changed: give an option');
    await show(io, options, await api.call<HawserHostView>('PATCH', path`/api/v1/hawser-hosts/${host}`, { body }));
  });
}

function addWay(command: Command): Command {
  return command
    .addOption(
      new Option(
        '--ca-file <file>',
        "the CA of the agent's certificate, in PEM (default: those of the system)",
      ).conflicts('pin'),
    )
    .option(
      '--pin <sha256>',
      "sha256: and 64 hex digits, the fingerprint of the agent's certificate: this one, whoever signed it",
    )
    .addOption(new Option('--proxy <url>', 'through this HTTP proxy: http://proxy:3128').conflicts('proxyFile'))
    .option('--proxy-file <file>', 'a file with the URL of the proxy, which may have a user and a password')
    .option('--insecure-http', 'agree that the token goes over the network in clear, to an http:// URL');
}

/** @throws CliError */
async function wayOf(options: WayOptions): Promise<Record<string, unknown>> {
  const { url, tokenFile, caFile, pin, proxy, proxyFile, insecureHttp } = options;
  const parsed = proxy === undefined ? null : URL.parse(proxy);
  if (parsed?.username || parsed?.password)
    throw usageError('the password of a proxy would be seen here: give its URL with --proxy-file');
  const given = {
    url,
    token: await lineOf(tokenFile, 'the token file'),
    ca: caFile === undefined ? undefined : await readText(caFile, 'the CA file'),
    pin,
    proxy: proxy ?? (await lineOf(proxyFile, 'the proxy file')),
    insecureHttp,
  };
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
}

/** @throws CliError */
async function lineOf(file: string | undefined, what: string): Promise<string | undefined> {
  if (file === undefined) return undefined;
  const line = (await readText(file, what)).trim();
  if (line === '') throw usageError(`there is nothing in ${what} ${file}`);
  return line;
}

async function show(io: CliIo, options: { readonly json?: boolean }, view: HawserHostView): Promise<void> {
  await print(io, options, view, ({ host, url, pin, ca, proxy, online, checkedAt, error, changedBy, changedAt }) =>
    facts([
      ['Host', host.name],
      ['Id', host.id],
      ['URL', url],
      ['Trust', pin ?? (url.startsWith('http:') ? 'none' : ca === null ? 'CAs of the system' : 'a CA of its own')],
      ['Proxy', proxy ?? 'none'],
      ['State', online ? 'online' : checkedAt === null ? 'being dialled' : 'offline'],
      ['Error', error ?? undefined],
      ['Changed', `${relative(changedAt, io.now())} by ${changedBy}`],
    ]),
  );
}
