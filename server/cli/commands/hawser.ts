/** `hawser`: hosts with unmodified agents of Hawser: those that connect, by tokens, and those that are dialled. */
import type { Command } from 'commander';
import { path } from '../api-client.ts';
import type { CreatedHawserToken, HawserTokenView, RotatedHawserToken } from '../api-types.ts';
import { act, type Cli, seconds } from '../commander.ts';
import { relative } from '../format.ts';
import { write } from '../io.ts';
import { print, printRows } from '../output.ts';
import { facts } from '../table.ts';
import { expiryAfter } from '../time.ts';
import { addAdopt } from './adopt.ts';
import { addDialled } from './hawser-hosts.ts';

const PATH = '/api/hawser/tokens';

interface CreateOptions {
  name: string;
  host?: string;
  expires?: number;
}

export function addHawser(root: Command, cli: Cli): void {
  const hawser = root.command('hawser').description('hosts with an unmodified agent of Hawser');
  addAdopt(hawser, cli);
  addDialled(hawser, cli);
  const token = hawser.command('token').description('tokens by which agents of Hawser connect');
  addCreate(token, cli);
  addList(token, cli);
  addRotate(token, cli);
  const rm = token.command('rm').description('revoke a token; its agent is cut off at once').argument('<id>');
  act<object, [string]>(rm, cli, async ({ api, io }, id) => {
    await api.call('DELETE', path`/api/hawser/tokens/${id}`);
    await write(io.stdout, `Revoked ${id}.\n`);
  });
}

function addCreate(token: Command, cli: Cli): void {
  const create = token
    .command('create')
    .description('make a token for one agent; it is shown this once')
    .requiredOption('--name <text>', 'whose it is; its host gets this name')
    .option('--host <host>', 'for this host of Hawser, which is there already (default: one of its own)')
    .option(
      '--expires <duration>',
      'after which it is refused, and its agent cut off: 12h, 30d (default: never)',
      seconds,
    );
  act<CreateOptions>(create, cli, async ({ api, io, options }) => {
    const made = await api.post<CreatedHawserToken>(PATH, {
      name: options.name,
      ...(options.host === undefined ? {} : { host: options.host }),
      ...(options.expires === undefined ? {} : { expiresAt: expiryAfter(io.now(), options.expires) }),
    });
    await print(io, options, made, () =>
      facts([
        ['Token', made.token],
        ['Id', made.id],
        ['Host', made.host?.name ?? 'made when its agent first connects'],
        ['Expires', made.expiresAt ?? 'never'],
      ]).concat(
        "\nGive the agent of Hawser these, and the server's CA as a file (`fairlead ca export --out ca.pem`):\n",
        `  DOCKHAND_SERVER_URL=${made.connectUrl}\n  TOKEN=${made.token}\n  CA_CERT=/path/of/ca.pem\n`,
      ),
    );
  });
}

function addList(token: Command, cli: Cli): void {
  act(token.command('ls').description('list tokens'), cli, async ({ api, io, options }) => {
    const tokens = await api.list<HawserTokenView>(PATH);
    await printRows(io, options, tokens, [
      ['ID', (row) => row.id],
      ['NAME', (row) => row.name],
      ['TOKEN', (row) => `${row.prefix}…`],
      ['STATE', (row) => (row.connected ? 'connected' : row.state)],
      ['HOST', (row) => row.host?.name ?? row.host?.id],
      ['CREATED', (row) => relative(row.createdAt, io.now())],
      ['LAST USED', (row) => relative(row.lastUsedAt, io.now())],
      ['EXPIRES', (row) => relative(row.expiresAt, io.now())],
    ]);
  });
}

function addRotate(token: Command, cli: Cli): void {
  const rotate = token
    .command('rotate')
    .description('make a token like an old one, and let the old one end')
    .argument('<id>', 'the old one')
    .option('--overlap <duration>', 'how long the old one goes on: 10m, 1h, at most 7d (default: not at all)', seconds);
  act<{ overlap?: number }, [string]>(rotate, cli, async ({ api, io, options }, id) => {
    const body = options.overlap === undefined ? {} : { overlapSeconds: options.overlap };
    const made = await api.post<RotatedHawserToken>(path`/api/hawser/tokens/${id}/rotate`, body);
    await print(io, options, made, () =>
      facts([
        ['Token', made.token],
        ['Id', made.id],
        ['Expires', made.expiresAt ?? 'never'],
        ['Old one ends', `${made.replacedEndsAt} (${relative(made.replacedEndsAt, io.now())})`],
      ]),
    );
  });
}
