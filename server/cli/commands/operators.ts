/** `operator`: client certificates for the API, as the docker CLI and curl take them. */
import { mkdir, open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { generateP256, privateKeyPem } from '../../../certs/native.ts';
import { path } from '../api-client.ts';
import type { OperatorCertificateView } from '../api-types.ts';
import { act, type Cli, collect, seconds } from '../commander.ts';
import { CliError, systemCode } from '../errors.ts';
import { relative } from '../format.ts';
import { write } from '../io.ts';
import { requestCertificate } from '../operator-certificate.ts';
import { print, printRows } from '../output.ts';
import { roleOption } from '../role-option.ts';
import { facts } from '../table.ts';

interface CreateOptions {
  role: string;
  host?: string[];
  tag?: string[];
  ttl?: number;
  out: string;
}

export function addOperator(root: Command, cli: Cli): void {
  const operator = root.command('operator').description('client certificates for the API: for docker, curl and people');
  const create = operator
    .command('create')
    .description('make a key here, and have a certificate issued for it')
    .argument('<name>', 'whose or what it is')
    .addOption(roleOption())
    .option('--host <host>', 'only for this host, by id or name; may repeat', collect)
    .option('--tag <tag>', 'only for hosts with this tag; may repeat', collect)
    .option('--ttl <duration>', 'after which it is refused: 12h, 30d (default: 90d)', seconds)
    .requiredOption('--out <dir>', 'where key.pem, cert.pem and ca.pem go, as DOCKER_CERT_PATH expects them');
  act<CreateOptions, [string]>(create, cli, async ({ api, io, options }, name) => {
    const { privateKey } = await generateP256();
    // First of all, so that no certificate is issued whose key could not be kept.
    const keyFile = await writeNew(options.out, 'key.pem', privateKeyPem(privateKey), 0o600);
    const made = await requestCertificate(api, privateKey, {
      name,
      role: options.role,
      ttlSeconds: options.ttl,
      hosts: options.host,
      tags: options.tag,
    }).catch(async (error: unknown) => {
      await rm(keyFile);
      throw error;
    });
    await writeNew(options.out, 'cert.pem', made.certificate, 0o644);
    if (made.serverCa !== undefined) await writeNew(options.out, 'ca.pem', made.serverCa, 0o644);
    const { certificate: _, ca: __, serverCa: ___, ...shown } = made;
    await print(io, options, { ...shown, dir: options.out }, () =>
      facts([
        ['Serial', made.serial],
        ['Expires', `${made.notAfter} (${relative(made.notAfter, io.now())})`],
        ['Directory', options.out],
      ]),
    );
  });
  addList(operator, cli);
  addRemove(operator, cli);
}

function addList(operator: Command, cli: Cli): void {
  act(operator.command('ls').description('list client certificates for the API'), cli, async ({ api, io, options }) => {
    const rows = await api.list<OperatorCertificateView>('/api/v1/operator-certificates');
    await printRows(io, options, rows, [
      ['SERIAL', (row) => row.serial],
      ['NAME', (row) => row.name],
      ['ROLE', (row) => row.role],
      ['STATE', (row) => row.state],
      ['HOSTS', (row) => row.hosts.join(',') || undefined],
      ['TAGS', (row) => row.tags.join(',') || undefined],
      ['LAST USED', (row) => relative(row.lastUsedAt, io.now())],
      ['EXPIRES', (row) => relative(row.notAfter, io.now())],
    ]);
  });
}

function addRemove(operator: Command, cli: Cli): void {
  const remove = operator.command('rm').description('revoke a client certificate').argument('<serial>');
  act<object, [string]>(remove, cli, async ({ api, io }, serial) => {
    await api.call('DELETE', path`/api/v1/operator-certificates/${serial}`);
    await write(io.stdout, `Revoked ${serial}.\n`);
  });
}

/** Writes a file that must not be there yet. @returns its path. @throws CliError */
async function writeNew(directory: string, name: string, text: string, mode: number): Promise<string> {
  const file = join(directory, name);
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const handle = await open(file, 'wx', mode);
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    return file;
  } catch (error) {
    const exists = systemCode(error) === 'EEXIST';
    const why = exists ? 'it is there already: choose an empty directory for --out' : (error as Error).message;
    throw new CliError(`cannot write ${file}: ${why}`, { cause: error });
  }
}
