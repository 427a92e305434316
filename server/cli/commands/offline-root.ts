/** `ca init`, `ca sign` and `ca endorse`: the offline root, on a machine that needs neither a server nor a network. */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { type Ca, createOfflineRoot, openCa } from '../../../certs/authority.ts';
import { ENDORSEMENT_DAYS } from '../../../certs/endorsement.ts';
import { DEFAULT_INTERMEDIATE_DAYS, MAX_INTERMEDIATE_DAYS, readCaRequest } from '../../../certs/intermediate.ts';
import { sealKey, unsealKey } from '../../../certs/key-at-rest.ts';
import { pinOfSpki } from '../../../certs/pin.ts';
import { rootsIn } from '../../../certs/trust.ts';
import type { Clock } from '../../../shared/clock.ts';
import { systemClock } from '../../../shared/clock.ts';
import { type Cli, wholeNumber } from '../commander.ts';
import { CliError } from '../errors.ts';
import { type CliIo, write } from '../io.ts';
import { createFile, readPassphrase, readText, replaceFile } from './files.ts';

const ROOT = 'root.pem';
/** What `sealKey` made, in base64. */
const KEY = 'root.key';

interface RootOptions {
  passphraseFile: string;
}

export function addOfflineRoot(ca: Command, cli: Cli): void {
  const { io } = cli;
  const clock = clockOf(io);
  const passphrase = ['--passphrase-file <file>', "a file with the passphrase of the root's key"] as const;
  const root = ['--root <dir>', 'where `fairlead ca init` made the root'] as const;
  ca.command('init')
    .description('make an offline root; on a machine without a network, no server is asked')
    .requiredOption('--offline', 'the root is to stay on this machine')
    .requiredOption('--out <dir>', 'where to keep it')
    .requiredOption(...passphrase)
    .action((options: RootOptions & { out: string }) => init(io, clock, options));
  ca.command('sign')
    .description('have an offline root sign the request of a server')
    .argument('<request>', 'what `fairlead ca request` printed')
    .requiredOption(...root)
    .requiredOption(...passphrase)
    .option(
      '--days <count>',
      'how long the intermediate lasts, and no longer than the root',
      wholeNumber(1, MAX_INTERMEDIATE_DAYS),
      DEFAULT_INTERMEDIATE_DAYS,
    )
    .requiredOption('--out <file>', 'where to write root and intermediate')
    .action((request: string, options: RootOptions & { root: string; days: number; out: string }) =>
      sign(io, clock, request, options),
    );
  ca.command('endorse')
    .description('have an offline root endorse its successor')
    .argument('<signed>', 'what `fairlead ca sign` wrote with the new root')
    .requiredOption(...root)
    .requiredOption(...passphrase)
    .requiredOption('--out <file>', 'where to write it with the endorsement')
    .action((signed: string, options: RootOptions & { root: string; out: string }) =>
      endorse(io, clock, signed, options),
    );
}

/** The CLI's time, for certificates. */
function clockOf(io: CliIo): Clock {
  return { ...systemClock, now: () => io.now() };
}

async function init(io: CliIo, clock: Clock, { out, passphraseFile }: RootOptions & { out: string }): Promise<void> {
  const passphrase = await readPassphrase(passphraseFile);
  try {
    await mkdir(out, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new CliError(`cannot make ${out}: ${(error as Error).message}`, { cause: error });
  }
  // Taken first, so that no root is overwritten, and none is made in vain.
  await createFile(join(out, KEY), '', 0o600);
  try {
    const { certPem, keyPem } = await createOfflineRoot({ clock });
    await createFile(join(out, ROOT), certPem, 0o644);
    const sealed = await sealKey(keyPem, passphrase, 'passphrase');
    await replaceFile(join(out, KEY), `${sealed.toString('base64')}\n`, 0o600);
    const { fingerprint } = openCa({ certPem, keyPem });
    await write(io.stdout, `The offline root is in ${out}; its fingerprint is ${fingerprint}.\n`);
  } catch (error) {
    await rm(join(out, KEY), { force: true });
    throw error;
  }
}

async function sign(
  io: CliIo,
  clock: Clock,
  request: string,
  options: RootOptions & { root: string; days: number; out: string },
): Promise<void> {
  const root = await openRoot(options);
  const { spki, installationId } = await readCaRequest(await readText(request, 'the request'));
  const { certPem, notAfter } = await root.issueIntermediate({ spki, installationId, days: options.days, clock });
  await replaceFile(options.out, root.certPem + certPem, 0o644);
  await write(
    io.stdout,
    `Signed an intermediate of the installation ${installationId}, key ${pinOfSpki(spki)}, until ` +
      `${notAfter.toISOString()}. Hand ${options.out} to \`fairlead ca import\`.\n`,
  );
}

async function endorse(
  io: CliIo,
  clock: Clock,
  signed: string,
  options: RootOptions & { root: string; out: string },
): Promise<void> {
  const root = await openRoot(options);
  const bundle = await readText(signed, 'the signed file');
  const [next, other] = rootsIn(bundle);
  if (next === undefined || other !== undefined) throw new CliError(`${signed} does not hold exactly one root`);
  if (next.pin === root.fingerprint) throw new CliError(`${signed} is of this root itself, which needs no endorsement`);
  const endorsement = await root.endorse({ root: next.x509, days: ENDORSEMENT_DAYS, clock });
  await replaceFile(options.out, `${bundle.trimEnd()}\n${endorsement}`, 0o644);
  await write(io.stdout, `Endorsed the root ${next.pin}. Hand ${options.out} to \`fairlead ca import\`.\n`);
}

/** @throws CliError, FairleadError VALIDATION if the passphrase is wrong */
async function openRoot({ root, passphraseFile }: RootOptions & { root: string }): Promise<Ca> {
  const certPem = await readText(join(root, ROOT), 'the root');
  const sealed = Buffer.from(await readText(join(root, KEY), "the root's key"), 'base64');
  return openCa({ certPem, keyPem: await unsealKey(sealed, await readPassphrase(passphraseFile)) });
}
