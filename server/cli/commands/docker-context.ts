/** `docker-context`: a context of the docker CLI that talks to a host through the mesh. */
import { X509Certificate } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { generateP256, privateKeyPem } from '../../../certs/native.ts';
import { isFairleadError } from '../../../shared/errors.ts';
import { type ApiClient, path } from '../api-client.ts';
import type { HostView } from '../api-types.ts';
import { act, type Cli, seconds } from '../commander.ts';
import { runDocker } from '../docker-program.ts';
import { CliError, describeError, systemCode } from '../errors.ts';
import { relative } from '../format.ts';
import type { CliIo } from '../io.ts';
import { type IssuedCertificate, requestCertificate } from '../operator-certificate.ts';
import { print } from '../output.ts';
import { roleOption } from '../role-option.ts';
import { facts } from '../table.ts';

interface ContextOptions {
  name?: string;
  role: string;
  ttl?: number;
  force?: boolean;
  use?: boolean;
}

export function addDockerContext(root: Command, cli: Cli): void {
  const command = root
    .command('docker-context')
    .description('make a context of the docker CLI for a host, with a client certificate for that host alone')
    .argument('<host>', 'id or name')
    .option('--name <context>', "the context's name (default: fairlead-HOST)")
    .addOption(roleOption().makeOptionMandatory(false).default('operator'))
    .option('--ttl <duration>', 'after which the certificate is refused: 12h, 30d (default: 90d)', seconds)
    .option('--force', 'replace a context of that name')
    .option('--use', 'make it the one that docker uses');
  act<ContextOptions, [string]>(command, cli, async ({ api, io, options }, ref) => {
    if (api.url.protocol !== 'https:') {
      throw new CliError(
        'the API is reached without TLS, over which no client certificate goes: set DOCKER_HOST and put the API token ' +
          'into HttpHeaders of config.json instead',
      );
    }
    const host = await api.get<HostView>(path`/api/v1/hosts/${ref}`);
    const name = options.name ?? `fairlead-${host.name}`;
    const exists = await contextExists(name, io);
    if (exists && !options.force) {
      throw new CliError(`docker has a context ${name} already: use --force to replace it, or another --name`);
    }
    const before = exists ? await serialOf(name, io) : undefined;
    const made = await makeContext(api, io, { host, name, exists, options });
    if (before !== undefined) await revoke(api, before);
    if (options.use) await runDocker(['context', 'use', name], io.env);
    const shown = { context: name, host: host.name, serial: made.serial, notAfter: made.notAfter };
    await print(io, options, shown, () =>
      facts([
        ['Context', name],
        ['Host', host.name],
        ['Certificate', `${made.serial}, expires ${relative(made.notAfter, io.now())}`],
        ['Try', options.use ? 'docker ps' : `docker --context ${name} ps`],
      ]),
    );
  });
}

interface Wanted {
  readonly host: HostView;
  readonly name: string;
  readonly exists: boolean;
  readonly options: ContextOptions;
}

/** Has a certificate issued and gives it to docker; one that docker does not take is revoked again. */
async function makeContext(
  api: ApiClient,
  io: CliIo,
  { host, name, exists, options }: Wanted,
): Promise<IssuedCertificate> {
  const { privateKey } = await generateP256();
  const { role, ttl: ttlSeconds } = options;
  const made = await requestCertificate(api, privateKey, {
    name: `docker context ${name} on ${hostname()}`.slice(0, 64),
    role,
    ttlSeconds,
    hosts: [host.id],
  });
  const dir = await mkdtemp(join(tmpdir(), 'fairlead-context-'));
  try {
    const files = { key: privateKeyPem(privateKey), cert: made.certificate, ca: made.serverCa };
    const fields = [`host=${dockerHost(api.url, host.id)}`];
    for (const [field, text] of Object.entries(files)) {
      if (text === undefined) continue;
      await writeFile(join(dir, field), text, { mode: 0o600 });
      fields.push(`${field}=${join(dir, field)}`);
    }
    const about = ['--description', `${host.name} through ${api.url.host}`, '--docker', fields.join(',')];
    await runDocker(['context', exists ? 'update' : 'create', name, ...about], io.env);
    return made;
  } catch (error) {
    await revoke(api, made.serial, error);
    throw error;
  } finally {
    // Docker has copied them.
    await rm(dir, { recursive: true, force: true });
  }
}

function dockerHost(api: URL, hostId: string): string {
  return `tcp://${api.hostname}:${api.port || 443}${api.pathname.replace(/\/$/, '')}/api/v1/hosts/${hostId}/docker`;
}

async function contextExists(name: string, { env }: CliIo): Promise<boolean> {
  const names = await runDocker(['context', 'ls', '--format', '{{.Name}}'], env);
  return names.split('\n').includes(name);
}

/** The serial of the certificate that a context has; undefined if it has none of ours. */
async function serialOf(name: string, { env }: CliIo): Promise<string | undefined> {
  const format = ['--format', '{{.Storage.TLSPath}}'];
  const dir = (await runDocker(['context', 'inspect', ...format, name], env)).trim();
  try {
    return new X509Certificate(await readFile(join(dir, 'docker', 'cert.pem'))).serialNumber;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw new CliError(`cannot read the certificate of the context ${name}: ${(error as Error).message}`);
  }
}

/** @throws CliError that says which certificate is still good */
async function revoke(api: ApiClient, serial: string, cause?: unknown): Promise<void> {
  try {
    await api.call('DELETE', path`/api/v1/operator-certificates/${serial}`);
  } catch (error) {
    // Of another installation, or gone already.
    if (isFairleadError(error, 'NOT_FOUND')) return;
    const why = `the certificate ${serial} is still good, revoke it by \`fairlead operator rm\`: ${describeError(error)}`;
    throw new CliError(cause === undefined ? why : `${describeError(cause)}; ${why}`, { cause: error });
  }
}
