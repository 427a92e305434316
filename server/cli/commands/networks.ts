/** `network`: the networks of a host. */
import type { Command } from 'commander';
import { printable } from '../../../shared/printable.ts';
import { path } from '../api-client.ts';
import { act, type Cli, collect } from '../commander.ts';
import { NETWORK_COLUMNS, type NetworkSummary } from '../docker-objects.ts';
import { FILTER_FLAG, filter, filtersOf, pairs } from '../docker-words.ts';
import { forEach } from '../each.ts';
import { write } from '../io.ts';
import { printJson, printRows } from '../output.ts';
import { addPrune } from './prune.ts';

export function addNetwork(root: Command, cli: Cli): void {
  const network = root.command('network').description('the networks of a host');
  addReads(network, cli);
  addCreate(network, cli);
  addRemove(network, cli);
  addJoin(network, cli);
  addPrune<{ NetworksDeleted: string[] }>(network, cli, {
    family: 'networks',
    what: () => 'all networks that no container uses',
    lines: (reply) => reply.NetworksDeleted,
  });
}

function addReads(network: Command, cli: Cli): void {
  const ls = network
    .command('ls')
    .description('list networks')
    .argument('<host>')
    .option(FILTER_FLAG, 'only those that Docker finds by this; may repeat', filter);
  act<{ filter?: Record<string, string[]> }, [string]>(ls, cli, async ({ api, io, options }, host) => {
    const query = { filters: filtersOf(options.filter) };
    const networks = await api.list<NetworkSummary>(path`/api/v1/hosts/${host}/networks`, { query });
    await printRows(io, options, networks, NETWORK_COLUMNS);
  });

  const inspect = network
    .command('inspect')
    .description('print all that Docker knows of a network, as JSON')
    .argument('<host>')
    .argument('<network>');
  act<object, [string, string]>(inspect, cli, async ({ api, io }, host, name) => {
    await printJson(io, await api.get<unknown>(path`/api/v1/hosts/${host}/networks/${name}`));
  });
}

interface CreateOptions {
  driver?: string;
  subnet?: string[];
  gateway?: string;
  internal?: boolean;
  attachable?: boolean;
  ipv6?: boolean;
  label?: Record<string, string>;
  opt?: Record<string, string>;
}

function addCreate(network: Command, cli: Cli): void {
  const create = network
    .command('create')
    .description('make a network')
    .argument('<host>')
    .argument('<name>')
    .option('-d, --driver <name>', 'bridge unless given')
    .option('--subnet <cidr>', 'its addresses; may repeat', collect)
    .option('--gateway <address>', 'of the first subnet')
    .option('--internal', 'without a way out')
    .option('--attachable', 'also for containers outside of a swarm')
    .option('--ipv6', 'with IPv6')
    .option('-l, --label <key=value>', 'a label; may repeat', pairs)
    .option('-o, --opt <key=value>', 'an option of the driver; may repeat', pairs);
  act<CreateOptions, [string, string]>(create, cli, async ({ api, io, options }, host, name) => {
    const body = networkBody(name, options);
    const made = await api.change<{ Id: string; Warning: string }>('POST', path`/api/v1/hosts/${host}/networks`, {
      body,
    });
    if (made.Warning !== '') await write(io.stderr, `fairlead: ${printable(made.Warning)}\n`);
    if (options.json) return await printJson(io, made);
    await write(io.stdout, `${printable(made.Id)}\n`);
  });
}

function networkBody(name: string, { driver, subnet = [], gateway, label, opt, ...flags }: CreateOptions) {
  const first = gateway === undefined ? {} : { Gateway: gateway };
  const Config = subnet.map((Subnet, index) => ({ Subnet, ...(index === 0 ? first : {}) }));
  return {
    Name: name,
    // Docker would make a second one of that name.
    CheckDuplicate: true,
    ...(driver === undefined ? {} : { Driver: driver }),
    ...(Config.length === 0 && gateway === undefined
      ? {}
      : { IPAM: { Config: Config.length === 0 ? [first] : Config } }),
    ...(label === undefined ? {} : { Labels: label }),
    ...(opt === undefined ? {} : { Options: opt }),
    ...(flags.internal === true ? { Internal: true } : {}),
    ...(flags.attachable === true ? { Attachable: true } : {}),
    ...(flags.ipv6 === true ? { EnableIPv6: true } : {}),
  };
}

function addRemove(network: Command, cli: Cli): void {
  const rm = network
    .command('rm')
    .description('remove networks that no container uses')
    .argument('<host>')
    .argument('<networks...>');
  act<object, [string, string[]]>(rm, cli, async ({ api, io }, host, names) => {
    await forEach(cli, names, async (name) => {
      await api.change('DELETE', path`/api/v1/hosts/${host}/networks/${name}`);
      await write(io.stdout, `${name}\n`);
    });
  });
}

interface ConnectOptions {
  alias?: string[];
  ip?: string;
  ip6?: string;
}

function addJoin(network: Command, cli: Cli): void {
  const connect = network
    .command('connect')
    .description('connect a container to a network')
    .argument('<host>')
    .argument('<network>')
    .argument('<container>')
    .option('--alias <name>', 'one more name of it there; may repeat', collect)
    .option('--ip <address>', 'its address there')
    .option('--ip6 <address>', 'its IPv6 address there');
  act<ConnectOptions, [string, string, string]>(connect, cli, async ({ api, options }, host, name, Container) => {
    const { alias, ip, ip6 } = options;
    const IPAMConfig = {
      ...(ip === undefined ? {} : { IPv4Address: ip }),
      ...(ip6 === undefined ? {} : { IPv6Address: ip6 }),
    };
    const EndpointConfig = {
      ...(alias === undefined ? {} : { Aliases: alias }),
      ...(Object.keys(IPAMConfig).length === 0 ? {} : { IPAMConfig }),
    };
    const body = { Container, EndpointConfig };
    await api.change('POST', path`/api/v1/hosts/${host}/networks/${name}/connect`, { body });
  });

  const disconnect = network
    .command('disconnect')
    .description('take a container out of a network')
    .argument('<host>')
    .argument('<network>')
    .argument('<container>')
    .option('-f, --force', 'whatever state it is in');
  act<{ force?: boolean }, [string, string, string]>(
    disconnect,
    cli,
    async ({ api, options }, host, name, Container) => {
      const body = { Container, Force: options.force === true };
      await api.change('POST', path`/api/v1/hosts/${host}/networks/${name}/disconnect`, { body });
    },
  );
}
