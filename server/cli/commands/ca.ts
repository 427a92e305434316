/** `ca`: what the installation is trusted by, and how that changes. */
import { text } from 'node:stream/consumers';
import type { Command } from 'commander';
import { printable } from '../../../shared/printable.ts';
import type { CaRotation, CaView } from '../api-types.ts';
import { act, type Cli } from '../commander.ts';
import { usageError } from '../errors.ts';
import { type CliIo, write } from '../io.ts';
import { print } from '../output.ts';
import { facts, table } from '../table.ts';
import { readText, replaceFile } from './files.ts';
import { addOfflineRoot } from './offline-root.ts';

/** A new root takes seconds to make, and an intermediate's key as well. */
const KEY_MS = 180_000;
/** Operators' certificates that a line names. */
const MAX_NAMED_OPERATORS = 10;
const ACTIONS = ['activate', 'retire', 'abort'] as const;
const NEXT_STEP: Record<CaRotation['phase'], string> = {
  stable: '',
  published: 'next: --activate, once the hosts that matter trust the new root; or --abort',
  activated: 'next: --retire, once all hosts have certificates of the new root; or --abort to go back',
};

export function addCa(root: Command, cli: Cli): void {
  const ca = root.command('ca').description('the certificate authority of this installation');
  act(
    ca.command('show').description('show the CA, its fingerprint and the state of a rotation'),
    cli,
    async (context) => {
      const { api, io, options } = context;
      const shown = await api.get<CaView>('/api/v1/ca');
      const rotation = await api.get<CaRotation>('/api/v1/ca/rotation');
      await print(io, options, { ...shown, rotation }, () => caText(shown) + rotationText(rotation));
    },
  );
  const out = ['--out <file>', 'a file to write to, instead of standard output'] as const;
  const exportCa = ca
    .command('export')
    .description('print the trusted roots as PEM, the current one first, and their endorsements')
    .option(...out);
  act<{ out?: string }>(exportCa, cli, async ({ api, io, options }) => {
    await output(io, options.out, await text(await api.stream('/ca.pem', { accept: '*/*' })));
  });
  addRotate(ca, cli);
  const request = ca
    .command('request')
    .description('have the server make an intermediate key, and print the request for an offline root to sign')
    .option(...out);
  act<{ out?: string }>(request, cli, async ({ api, io, options }) => {
    const { csr } = await api.post<{ csr: string }>('/api/v1/ca/request', undefined, { timeoutMs: KEY_MS });
    await output(io, options.out, csr);
  });
  const take = ca
    .command('import')
    .description('hand the server what the offline root has signed')
    .argument('<file>', 'what `fairlead ca sign` wrote');
  act<object, [string]>(take, cli, async ({ api, io, options }, file) => {
    const bundle = await readText(file, 'the signed file');
    const done = await api.post<{ result: 'published' | 'renewed' }>('/api/v1/ca/import', { bundle });
    await print(io, options, done, ({ result }) =>
      result === 'renewed'
        ? 'The intermediate is renewed and in use; nobody has to be told, since the root is the same.\n'
        : `The offline root is published; ${NEXT_STEP.published} (fairlead ca rotate).\n`,
    );
  });
  addOfflineRoot(ca, cli);
}

interface RotateOptions {
  activate?: boolean;
  retire?: boolean;
  abort?: boolean;
  force?: boolean;
}

function addRotate(ca: Command, cli: Cli): void {
  const rotate = ca
    .command('rotate')
    .description('replace the root: make and publish a new one, then --activate it, then --retire the old one')
    .option('--activate', 'certificates come from the new root; the old one is still trusted')
    .option('--retire', 'the old root is trusted no more')
    .option('--abort', 'take one step back, as long as the old root is not retired')
    .option('--force', 'take the step although it locks hosts out');
  act<RotateOptions>(rotate, cli, async ({ api, io, options }) => {
    const [action = 'publish', other] = ACTIONS.filter((name) => options[name] === true);
    if (other !== undefined) throw usageError(`--${action} and --${other} exclude each other`);
    if (action === 'retire') {
      const warning = operatorWarning(await api.get<CaRotation>('/api/v1/ca/rotation'));
      if (warning !== '') await write(io.stderr, warning);
    }
    const body = { action, ...(options.force === true ? { force: true } : {}) };
    const done = await api.post<CaRotation>('/api/v1/ca/rotation', body, { timeoutMs: KEY_MS });
    await print(io, options, done, rotationText);
  });
}

function caText(ca: CaView): string {
  const main = facts([
    ['Fingerprint', ca.fingerprint],
    ['Subject', ca.subject],
    ['Not before', ca.notBefore],
    ['Not after', ca.notAfter],
    ['Intermediate until', ca.intermediate?.notAfter],
  ]);
  const rows = table(ca.roots, [
    ['ROOT', ({ role, offline }) => (offline ? `${role} (offline)` : role)],
    ['FINGERPRINT', ({ fingerprint }) => fingerprint],
    ['NOT AFTER', ({ notAfter }) => notAfter],
  ]);
  const warnings = ca.warnings.map((warning) => `Warning: ${printable(warning)}\n`).join('');
  return `${main}${warnings}${ca.roots.length > 1 ? `\n${rows}` : ''}`;
}

function rotationText(rotation: CaRotation): string {
  const { phase, hosts, acknowledged } = rotation;
  const names = (list: readonly { name: string }[]) => list.map(({ name }) => name).join(', ');
  const state = facts([
    ['Phase', phase],
    [phase === 'published' ? 'Trust the next root' : 'Trust the root', `${acknowledged} of ${hosts} hosts`],
    ['Do not yet', names(rotation.unacknowledged)],
    ['Have another certificate', names(rotation.otherCertificates)],
    ['Operators that do', operatorNames(rotation)],
  ]);
  return `\n${state}${NEXT_STEP[phase] === '' ? '' : `${NEXT_STEP[phase]}\n`}`;
}

/** What retiring the old root ends besides; nobody is locked out by it who cannot make another one. */
function operatorWarning(rotation: CaRotation): string {
  const { count } = rotation.otherOperatorCertificates;
  if (rotation.phase !== 'activated' || count === 0) return '';
  const what = count === 1 ? '1 operator certificate' : `${count} operator certificates`;
  const way = 'make new ones with "fairlead operator create"';
  return `Warning: this ends ${what} of the old root: ${operatorNames(rotation)}; ${way}\n`;
}

function operatorNames({ otherOperatorCertificates: { count, items } }: CaRotation): string {
  const named = items.slice(0, MAX_NAMED_OPERATORS).map(({ name, serial }) => `${printable(name)} (${serial})`);
  if (named.length === 0) return count === 0 ? '' : String(count);
  const rest = count > named.length ? ` and ${count - named.length} more` : '';
  return `${named.join(', ')}${rest}`;
}

async function output(io: CliIo, file: string | undefined, content: string): Promise<void> {
  if (file === undefined) await write(io.stdout, content);
  else await replaceFile(file, content, 0o644);
}
