/** `login` and `logout`: a stored context, so that later commands need neither server nor token. */
import type { Command } from 'commander';
import { printable } from '../../../shared/printable.ts';
import { ApiClient } from '../api-client.ts';
import type { Whoami } from '../api-types.ts';
import type { Cli } from '../commander.ts';
import { type GlobalOptions, target } from '../connect.ts';
import { contextPath, removeContext, saveContext } from '../context-file.ts';
import { usageError } from '../errors.ts';
import { type CliIo, write } from '../io.ts';

export function addLogin(root: Command, cli: Cli): void {
  const login = root
    .command('login')
    .description('check the API token at the server, and keep both for later commands')
    .addHelpText('after', '\nThe token is read from --api-token-file, or else from standard input.');
  login.action(() => runLogin(login.optsWithGlobals<GlobalOptions>(), cli.io));

  const logout = root.command('logout').description('forget the stored server and API token');
  logout.action(async () => {
    const path = contextPath(cli.io.env);
    const removed = await removeContext(path);
    await write(cli.io.stdout, removed ? `Removed ${path}.\n` : 'There was no stored login.\n');
  });
}

async function runLogin(options: GlobalOptions, io: CliIo): Promise<void> {
  if (options.server === undefined) throw usageError('give the server with --server URL');
  const named = options.apiTokenFile !== undefined || io.env['FAIRLEAD_API_TOKEN'] !== undefined;
  const found = await target(named ? options : { ...options, apiTokenFile: '-' }, io);
  const api = new ApiClient(found);
  try {
    const me = await api.get<Whoami>('/api/v1/whoami');
    const path = contextPath(io.env);
    const { url, trust, token } = found;
    await saveContext(path, { version: 1, server: url.href.replace(/\/$/, ''), trust, token });
    await write(io.stdout, `Logged in to ${url.host} as ${printable(me.name)} (${me.role}). Stored in ${path}.\n`);
  } finally {
    api.close();
  }
}
