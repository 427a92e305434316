/** `forward`: ports of this machine that lead to ports of containers, or of a host, through the mesh. */
import type { Command } from 'commander';
import { printable } from '../../../shared/printable.ts';
import { type ApiClient, path } from '../api-client.ts';
import type { HostView } from '../api-types.ts';
import { act, type Cli } from '../commander.ts';
import { describeError, usageError } from '../errors.ts';
import { denialOf } from '../forward-policy.ts';
import { type Forward, listenFor } from '../forwarding.ts';
import { write } from '../io.ts';

interface ForwardOptions {
  bind: string;
}

const LOOPBACK = /^(?:127\.|::1$|localhost$)/;

export function addForward(root: Command, cli: Cli): void {
  const forward = root
    .command('forward')
    .description('make ports of containers, or of a host, reachable at ports of this machine, until Ctrl-C')
    .argument('<host>', 'id or name')
    .argument('<forward...>', 'LOCALPORT:CONTAINER:PORT, or LOCALPORT:PORT for a port of the host; LOCALPORT 0: any')
    .option('--bind <address>', 'the address of this machine to listen at', '127.0.0.1')
    .addHelpText(
      'after',
      "\nThe host's policy must name what may be reached, as in: fairlead-agent run --allow full --allow tcp:db:5432\n" +
        'What it does not name is told at the start; nothing is listened at if that is all of it.' +
        '\n\nExample: fairlead forward my-host 15432:db:5432 18080:8080',
    );
  act<ForwardOptions, [string, string[]]>(forward, cli, async ({ api, io, options }, host, specs) => {
    const forwards = specs.map(parseForward);
    const view = await api.get<HostView>(path`/api/v1/hosts/${host}`);
    const { name } = view;
    const { promise: stopped, resolve } = Promise.withResolvers<void>();
    const forget = io.onStop(resolve);
    const report = (text: string) => void write(io.stderr, `fairlead: ${printable(text)}\n`);
    await tellDenials(api, view, forwards, report);
    if (!LOOPBACK.test(options.bind))
      report(`whoever reaches ${options.bind} reaches what is forwarded, without a token`);
    const listeners: { close(): void }[] = [];
    try {
      for (const each of forwards) {
        const listener = await listenFor(each, { api, host, bind: options.bind, report });
        listeners.push(listener);
        const to = each.container === undefined ? `port ${each.port}` : `${each.container}:${each.port}`;
        const line = options.json
          ? JSON.stringify({ local: listener.address, host: name, container: each.container ?? null, port: each.port })
          : `${listener.address} -> ${printable(`${name} ${to}`)}`;
        await write(io.stdout, `${line}\n`);
      }
      await stopped;
    } finally {
      forget();
      for (const listener of listeners) listener.close();
    }
  });
}

/** Tells what the host does not let be reached. @throws FairleadError the last of it, if that is all there is */
async function tellDenials(
  api: ApiClient,
  host: HostView,
  forwards: readonly Forward[],
  report: (text: string) => void,
): Promise<void> {
  const found = await Promise.all(forwards.map((each) => denialOf(api, host, each)));
  const denials = found.filter((each) => each !== undefined);
  const last = denials.length === forwards.length ? denials.pop() : undefined;
  for (const denial of denials) report(describeError(denial));
  if (last !== undefined) throw last;
}

/** @throws CliError for what is none */
export function parseForward(text: string): Forward {
  const [, local = '', container, port = ''] = /^(\d{1,5}):(?:([^:/]+):)?(\d{1,5})$/.exec(text) ?? [];
  const isFit = Number(local) <= 65_535 && Number(port) >= 1 && Number(port) <= 65_535;
  if (local === '' || !isFit) {
    throw usageError(
      `'${text}' is no forward: write LOCALPORT:CONTAINER:PORT, or LOCALPORT:PORT for a port of the host`,
    );
  }
  return { localPort: Number(local), container, port: Number(port) };
}
