/** `token` (enrollment tokens) and `apitoken` (tokens for people and programs). */
import type { Command } from 'commander';
import { path } from '../api-client.ts';
import type {
  ApiTokenView,
  CreatedApiToken,
  CreatedEnrollmentToken,
  EnrollmentTokenView,
  ScopeView,
} from '../api-types.ts';
import { act, type Cli, collect, seconds } from '../commander.ts';
import { relative } from '../format.ts';
import { write } from '../io.ts';
import { print, printRows } from '../output.ts';
import { roleOption } from '../role-option.ts';
import { facts } from '../table.ts';
import { expiryAfter } from '../time.ts';
import { addRotate } from './rotate.ts';

interface CreateTokenOptions {
  name?: string;
  ttl?: number;
  hostName?: string;
  tag?: string[];
}

export function addToken(root: Command, cli: Cli): void {
  const token = root.command('token').description('tokens that enroll a host');
  const create = token
    .command('create')
    .description('make a token for one enrollment; it is shown this once')
    .option('--name <text>', 'what the token is for, for the list')
    .option('--ttl <duration>', 'how long it can be used: 90s, 30m, 12h, 7d (default: 1h)', seconds)
    .option('--host-name <name>', 'the name of the host that uses it')
    .option('--tag <tag>', 'a tag the host gets; may repeat', collect);
  act<CreateTokenOptions>(create, cli, async ({ api, io, options }) => {
    const made = await api.post<CreatedEnrollmentToken>('/api/v1/enrollment-tokens', {
      ...(options.name === undefined ? {} : { name: options.name }),
      ...(options.ttl === undefined ? {} : { ttlSeconds: options.ttl }),
      ...(options.hostName === undefined ? {} : { hostName: options.hostName }),
      ...(options.tag === undefined ? {} : { tags: options.tag }),
    });
    await print(io, options, made, () =>
      facts([
        ['Token', made.token],
        ['Id', made.id],
        ['Expires', `${made.expiresAt} (${relative(made.expiresAt, io.now())})`],
        ['CA', made.caFingerprint],
      ]).concat(
        '\nOn the new host, paste\n',
        `  ${made.installCommand}\n`,
        'or, where the agent is installed, run\n',
        `  ${made.enrollCommand}\n`,
        'or, in a checkout of Fairlead there,\n',
        `  ${made.enrollCommand.replace(/\bfairlead-agent enroll\b/, 'npm run --silent agent -- enroll')}\n`,
      ),
    );
  });

  act(token.command('ls').description('list enrollment tokens'), cli, async ({ api, io, options }) => {
    const tokens = await api.list<EnrollmentTokenView>('/api/v1/enrollment-tokens');
    await printRows(io, options, tokens, [
      ['ID', (row) => row.id],
      ['NAME', (row) => row.name ?? undefined],
      ['STATE', (row) => row.state],
      ['HOST NAME', (row) => row.hostName ?? undefined],
      ['TAGS', (row) => row.tags?.join(',')],
      ['CREATED', (row) => relative(row.createdAt, io.now())],
      ['EXPIRES', (row) => relative(row.expiresAt, io.now())],
    ]);
  });

  const rm = token.command('rm').description('revoke an enrollment token').argument('<id>');
  act<object, [string]>(rm, cli, async ({ api, io }, id) => {
    await api.call('DELETE', path`/api/v1/enrollment-tokens/${id}`);
    await write(io.stdout, `Revoked ${id}.\n`);
  });
}

interface CreateApiTokenOptions {
  name: string;
  role: string;
  expires?: number;
  host?: string[];
  tag?: string[];
}

export function addApiToken(root: Command, cli: Cli): void {
  const token = root.command('apitoken').description('tokens for the REST API and this CLI');
  const create = token
    .command('create')
    .description('make an API token; it is shown this once')
    .requiredOption('--name <text>', 'whose or what it is')
    .addOption(roleOption())
    .option('--expires <duration>', 'after which it is refused: 12h, 30d (default: never)', seconds)
    .option('--host <host>', 'only for this host, by name or id; may repeat (default: all hosts)', collect)
    .option('--tag <tag>', 'only for hosts with this tag; may repeat, and goes with --host', collect);
  act<CreateApiTokenOptions>(create, cli, async ({ api, io, options }) => {
    const made = await api.post<CreatedApiToken>('/api/v1/api-tokens', {
      name: options.name,
      role: options.role,
      ...(options.expires === undefined ? {} : { expiresAt: expiryAfter(io.now(), options.expires) }),
      ...(options.host === undefined ? {} : { hosts: options.host }),
      ...(options.tag === undefined ? {} : { tags: options.tag }),
    });
    await print(io, options, made, () =>
      facts([
        ['Token', made.token],
        ['Id', made.id],
        ['Scope', scopeText(made.scope)],
        ['Expires', made.expiresAt ?? 'never'],
      ]),
    );
  });

  act(token.command('ls').description('list API tokens'), cli, async ({ api, io, options }) => {
    const tokens = await api.list<ApiTokenView>('/api/v1/api-tokens');
    await printRows(io, options, tokens, [
      ['ID', (row) => row.id],
      ['NAME', (row) => row.name],
      ['ROLE', (row) => row.role],
      ['SCOPE', (row) => scopeText(row.scope)],
      ['CREATED', (row) => relative(row.createdAt, io.now())],
      ['LAST USED', (row) => lastUsed(row, io.now())],
      ['EXPIRES', (row) => relative(row.expiresAt, io.now())],
    ]);
  });

  addRotate(token, cli);
  const rm = token.command('rm').description('revoke an API token').argument('<id>');
  act<object, [string]>(rm, cli, async ({ api, io }, id) => {
    await api.call('DELETE', path`/api/v1/api-tokens/${id}`);
    await write(io.stdout, `Revoked ${id}.\n`);
  });
}

/** Which hosts a token is for, as `shed,tag:lab`. */
function scopeText(scope: ScopeView): string {
  if (scope === null) return 'all';
  return [...scope.hosts.map(({ id, name }) => name ?? id), ...scope.tags.map((tag) => `tag:${tag}`)].join(',');
}

function lastUsed({ lastUsedAt, lastUsedAddress }: ApiTokenView, now: number): string | undefined {
  const at = relative(lastUsedAt, now);
  return at !== undefined && lastUsedAddress !== null ? `${at} from ${lastUsedAddress}` : at;
}
