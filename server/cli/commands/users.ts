/** `user`: people who log in by password. Passwords come from a file or a pipe, never from the command line. */
import { readFile } from 'node:fs/promises';
import type { Command } from 'commander';
import { path } from '../api-client.ts';
import type { UserView } from '../api-types.ts';
import { act, type Cli, collect } from '../commander.ts';
import { CliError, usageError } from '../errors.ts';
import { relative } from '../format.ts';
import { type CliIo, write } from '../io.ts';
import { print, printRows } from '../output.ts';
import { roleOption } from '../role-option.ts';
import { facts } from '../table.ts';

/** More than the server takes, and little enough to be read whole. */
const MAX_PASSWORD_BYTES = 4096;

interface PasswordOptions {
  passwordFile: string;
  apiTokenFile?: string;
}

interface CreateOptions extends PasswordOptions {
  role: string;
  host?: string[];
  tag?: string[];
}

export function addUser(root: Command, cli: Cli): void {
  const user = root.command('user').description('people who log in by password');
  const create = withPassword(user.command('create').description('add a user').argument('<name>'))
    .addOption(roleOption())
    .option('--host <host>', 'only for this host, by id or name; may repeat', collect)
    .option('--tag <tag>', 'only for hosts with this tag; may repeat', collect);
  act<CreateOptions, [string]>(create, cli, async ({ api, io, options }, name) => {
    const made = await api.post<UserView>('/api/v1/users', {
      name,
      role: options.role,
      password: await readPassword(options, io),
      ...(options.host === undefined ? {} : { hosts: options.host }),
      ...(options.tag === undefined ? {} : { tags: options.tag }),
    });
    await print(io, options, made, () =>
      facts([
        ['Name', made.name],
        ['Role', made.role],
      ]),
    );
  });

  act(user.command('ls').description('list users'), cli, async ({ api, io, options }) => {
    await printRows(io, options, await api.list<UserView>('/api/v1/users'), [
      ['NAME', (row) => row.name],
      ['ROLE', (row) => row.role],
      ['HOSTS', (row) => row.hosts.join(',') || undefined],
      ['TAGS', (row) => row.tags.join(',') || undefined],
      ['CREATED', (row) => relative(row.createdAt, io.now())],
      ['PASSWORD', (row) => relative(row.passwordChangedAt, io.now())],
      ['LAST LOGIN', (row) => relative(row.lastLoginAt, io.now())],
    ]);
  });

  const passwd = withPassword(
    user.command('passwd').description("set a user's password and end the user's sessions").argument('<name>'),
  );
  act<PasswordOptions, [string]>(passwd, cli, async ({ api, io, options }, name) => {
    const password = await readPassword(options, io);
    await api.call('PUT', path`/api/v1/users/${name}/password`, { body: { password } });
    await write(io.stdout, `Changed the password of ${name}.\n`);
  });

  const remove = user.command('rm').description('remove a user and end the sessions').argument('<name>');
  act<object, [string]>(remove, cli, async ({ api, io }, name) => {
    await api.call('DELETE', path`/api/v1/users/${name}`);
    await write(io.stdout, `Removed ${name}.\n`);
  });
}

function withPassword(command: Command): Command {
  return command.option('--password-file <file>', 'a file with the password; - for standard input', '-');
}

/** The password without the line break at its end. @throws CliError */
async function readPassword({ passwordFile, apiTokenFile }: PasswordOptions, io: CliIo): Promise<string> {
  if (passwordFile === '-' && apiTokenFile === '-') {
    throw usageError('standard input cannot be both the API token and the password: give one of them as a file');
  }
  const text = passwordFile === '-' ? await readStdin(io) : await readText(passwordFile);
  const password = text.replace(/\r?\n$/, '');
  if (password === '')
    throw usageError('there is no password: it is the content of --password-file or of standard input');
  return password;
}

async function readText(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    throw new CliError(`cannot read the password file: ${(error as Error).message}`, { cause: error });
  }
}

async function readStdin(io: CliIo): Promise<string> {
  if (io.stdin.isTTY) {
    throw usageError('a password typed here would be seen: give it with --password-file FILE or pipe it in');
  }
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of io.stdin as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_PASSWORD_BYTES) throw usageError('what came on standard input is no password: it is too long');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
