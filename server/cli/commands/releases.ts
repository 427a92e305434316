/** `release`: the keys and signatures of releases, on a machine that needs neither a server nor a network. */
import { generateKeyPairSync } from 'node:crypto';
import { existsSync } from 'node:fs';
import type { Command } from 'commander';
import { printable } from '../../../shared/printable.ts';
import type { SignedRelease } from '../../../shared/releases/release.ts';
import { keyIdOf, signRelease } from '../../../shared/releases/signature.ts';
import { type Cli, collect, wholeNumber } from '../commander.ts';
import type { GlobalOptions } from '../connect.ts';
import { CliError, usageError } from '../errors.ts';
import type { CliIo } from '../io.ts';
import { print } from '../output.ts';
import {
  type BuiltPlatform,
  checkExecutable,
  checkSigned,
  readBuild,
  readKeyFiles,
  readSignature,
  readSigned,
  signatureFile,
} from '../release-files.ts';
import { createFile, readPassphrase, readSigningKey, replaceFile } from './files.ts';

const MAX_SEQUENCE = 2 ** 31 - 1;
const PASSPHRASE = ['--passphrase-file <file>', 'a file with the passphrase that the key rests under'] as const;

export function addRelease(root: Command, cli: Cli): void {
  const { io } = cli;
  const release = root.command('release').description('sign releases of the agent; no server is asked');
  release
    .command('keygen')
    .description('make a key that signs releases, and its public half beside it')
    .requiredOption('--out <file>', 'where to keep it; FILE.pub gets the public one')
    .option(...PASSPHRASE)
    .addHelpText('after', '\nKeep it off the server: whoever has it can have every agent run whatever he likes.')
    .action((_options: unknown, command: Command) => keygen(io, command.optsWithGlobals()));
  release
    .command('sign')
    .description('sign the executables that build:agent made')
    .argument('<dir>', 'the folder that it wrote')
    .requiredOption('--key <file>', 'the key of fairlead release keygen')
    .option(...PASSPHRASE)
    .option(
      '--sequence <number>',
      'above that of every release before; by default what it was built with',
      wholeNumber(1, MAX_SEQUENCE),
    )
    .option('--downgrade', 'let it take the place of newer versions')
    .option('--force', 'though it is signed with this sequence, or a higher one, already')
    .action((dir: string, _options: unknown, command: Command) => sign(io, dir, command.optsWithGlobals()));
  release
    .command('verify')
    .description('check executables and signatures against public keys')
    .argument('<dir>', 'the folder with the release')
    .requiredOption('--release-key <file>', 'a public key that it may be signed by; may repeat', collect)
    .action((dir: string, _options: unknown, command: Command) => verify(io, dir, command.optsWithGlobals()));
}

interface KeygenOptions extends GlobalOptions {
  out: string;
  passphraseFile?: string;
}

interface SignOptions extends GlobalOptions {
  key: string;
  passphraseFile?: string;
  sequence?: number;
  downgrade?: boolean;
  force?: boolean;
}

interface VerifyOptions extends GlobalOptions {
  releaseKey: string[];
}

async function keygen(io: CliIo, options: KeygenOptions): Promise<void> {
  const { out, passphraseFile } = options;
  const passphrase = passphraseFile === undefined ? undefined : await readPassphrase(passphraseFile);
  const publicFile = `${out}.pub`;
  // Of another key, which agents may be built with: it is the only copy that tells which.
  if (existsSync(publicFile)) throw new CliError(`${publicFile} is there already and is not overwritten`);
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  const seal = passphrase === undefined ? {} : { cipher: 'aes-256-cbc', passphrase };
  await createFile(out, String(privateKey.export({ type: 'pkcs8', format: 'pem', ...seal })), 0o600);
  await createFile(publicFile, String(publicKey.export({ type: 'spki', format: 'pem' })), 0o644);
  const made = { keyId: keyIdOf(publicKey), file: out, publicFile };
  await print(
    io,
    options,
    made,
    ({ keyId }) => `The key ${keyId} is in ${out}; build agents with --release-key ${publicFile}.\n`,
  );
}

async function sign(io: CliIo, dir: string, options: SignOptions): Promise<void> {
  const key = await readSigningKey(options.key, options.passphraseFile);
  const { downgrade, force = false } = options;
  const made: { built: BuiltPlatform; signed: SignedRelease; isThere: boolean }[] = [];
  for (const built of await readBuild(dir)) {
    await checkExecutable(built);
    const { version, os, arch, bytes, sha256 } = built.facts;
    const sequence = sequenceFor(built, options.sequence);
    const release = { version, sequence, os, arch, bytes, sha256, ...(downgrade === true ? { downgrade } : {}) };
    const signed = signRelease(release, key);
    made.push({ built, signed, isThere: await isThere(built, signed, force) });
  }
  // Only once all of it is known to be right.
  for (const { built, signed, isThere: isSigned } of made) {
    if (!isSigned) await replaceFile(signatureFile(built), `${JSON.stringify(signed)}\n`, 0o644);
  }
  await printSigned(
    io,
    options,
    made.map(({ signed }) => signed),
  );
}

/** @throws CliError if none is given, or one up to which the executable would take no release, and so not itself */
function sequenceFor({ dir, facts }: BuiltPlatform, given: number | undefined): number {
  const sequence = given ?? facts.sequence;
  if (sequence === undefined) throw usageError('a sequence is needed, above that of every release before: --sequence');
  if (sequence >= (facts.sequence ?? 0)) return sequence;
  throw new CliError(`${dir} was built with the sequence ${facts.sequence}: it cannot be signed with a lower one`);
}

/** Whether this very signature is there. @throws CliError for another one that this one does not supersede */
async function isThere(built: BuiltPlatform, signed: SignedRelease, force: boolean): Promise<boolean> {
  const found = await readSignature(built);
  if (found === undefined) return false;
  if (found.signature === signed.signature) return true;
  if (force || found.sequence < signed.sequence) return false;
  throw new CliError(
    `${built.dir} is signed already, with the sequence ${found.sequence} by the key ${found.keyId}: take a higher ` +
      'sequence, or --force',
  );
}

async function verify(io: CliIo, dir: string, options: VerifyOptions): Promise<void> {
  const keys = await readKeyFiles(options.releaseKey);
  const platforms = await readSigned(dir);
  for (const platform of platforms) await checkSigned(platform, keys);
  await printSigned(
    io,
    options,
    platforms.map(({ signed }) => signed),
  );
}

async function printSigned(io: CliIo, options: GlobalOptions, all: readonly SignedRelease[]): Promise<void> {
  await print(io, options, all, (each) => each.map((signed) => `${lineOf(signed)}\n`).join(''));
}

function lineOf({ version, sequence, os, arch, keyId, downgrade }: SignedRelease): string {
  const how = downgrade === true ? ', also over newer versions' : '';
  return printable(`${os}/${arch}: ${version}, sequence ${sequence}, signed by ${keyId}${how}`);
}
