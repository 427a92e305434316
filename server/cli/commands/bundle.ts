/** `bundle`: makes a site archive of what is installed here, and checks one; no server is asked. */
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { agentFoldersOfSite, INSTALLATION_DIR } from '../../../shared/site.ts';
import { VERSION } from '../../../shared/version.ts';
import { type Cli, collect } from '../commander.ts';
import type { GlobalOptions } from '../connect.ts';
import { CliError } from '../errors.ts';
import { bytes } from '../format.ts';
import type { CliIo } from '../io.ts';
import { print } from '../output.ts';
import { readKeyFiles } from '../release-files.ts';
import { siteArchive, siteName } from '../site/archive.ts';
import { checkSite, type SiteCheck } from '../site/check.ts';
import { siteFiles } from '../site/contents.ts';
import { facts } from '../table.ts';
import { requireWritable, writeWhole } from '../whole-file.ts';
import { readSigningKey } from './files.ts';

interface MakeOptions extends GlobalOptions {
  out?: string;
  agentFiles?: string;
  signKey?: string;
  passphraseFile?: string;
  force?: boolean;
}

/** What is told of signatures where no key was given to check them by. */
const UNLOOKED = 'not looked at: name the keys that must have signed it by --release-key FILE.pub';

interface VerifyOptions extends GlobalOptions {
  releaseKey?: string[];
}

export function addBundle(root: Command, cli: Cli): void {
  const bundle = root
    .command('bundle')
    .description('make an archive that installs a whole site without a network, of what is installed here')
    .option('--out <file>', 'the file to write (by default fairlead-site-<version>-<os>-<arch>.tar.gz)')
    .option('--agent-files <dir>', 'a folder with executables of the agent (by default those that are installed here)')
    .option('--sign-key <file>', 'sign the checksums by this key of fairlead release keygen')
    .option('--passphrase-file <file>', 'a file with the passphrase that the key rests under')
    .option('--force', 'overwrite the file if it is there');
  bundle.action(async () => await make(bundle.optsWithGlobals<MakeOptions>(), cli.io));
  const verify = bundle
    .command('verify')
    .description('check an archive from its first byte to its last, or what one was unpacked to')
    .argument('<path>', 'the archive, or the folder that it was unpacked to')
    .option('--release-key <file>', 'a public key; all must be signed by one of those given; may be repeated', collect);
  verify.action(async (file: string) => {
    const options = verify.optsWithGlobals<VerifyOptions>();
    const keys = options.releaseKey === undefined ? undefined : await readKeyFiles(options.releaseKey);
    const signedBy = keys === undefined ? UNLOOKED : undefined;
    await show(cli.io, options, { file, ...(await checkSite(file, keys)) }, signedBy);
  });
}

async function make(options: MakeOptions, io: CliIo): Promise<void> {
  const site = { version: VERSION, os: process.platform, arch: process.arch, node: process.versions.node };
  const { out = `${siteName(site)}.tar.gz`, force = false } = options;
  await requireWritable(out, force);
  const agentFiles = options.agentFiles ?? (await installedAgentFiles());
  await access(agentFiles).catch((cause: unknown) => {
    throw new CliError(`--agent-files ${agentFiles} cannot be read: is there such a folder?`, { cause });
  });
  const files = await siteFiles({ facts: site, installation: INSTALLATION_DIR, node: process.execPath, agentFiles });
  const signed =
    options.signKey === undefined ? {} : { privateKey: await readSigningKey(options.signKey, options.passphraseFile) };
  const body = await siteArchive(siteName(site), files, signed);
  const { checked, ...written } = await writeWhole(out, body, { force, io, check: (file) => checkSite(file) });
  await show(io, options, { file: out, ...written, ...checked, bytes: written.bytes });
}

async function installedAgentFiles(): Promise<string> {
  for (const folder of [...agentFoldersOfSite(), join(INSTALLATION_DIR, 'dist/agent-files')]) {
    const isThere = await access(folder).then(
      () => true,
      () => false,
    );
    if (isThere) return folder;
  }
  throw new CliError('no executables of the agent are installed here: say where there are some with --agent-files DIR');
}

async function show(
  io: CliIo,
  options: GlobalOptions,
  shown: SiteCheck & { file: string; sha256?: string },
  signedBy?: string,
): Promise<void> {
  await print(io, options, shown, ({ file, sha256, facts: site, agents, ...rest }) =>
    facts([
      ['File', file],
      ['Unpacked', bytes(rest.bytes)],
      ['SHA-256', sha256],
      ['Server', `${site.version} for ${site.os}/${site.arch}, with Node ${site.node}`],
      ...agents.map(({ os, arch, version, sequence }) => {
        const release = sequence === undefined ? 'not signed' : `release ${sequence}`;
        return [`Agent ${os}/${arch}`, `${version}, ${release}`] as const;
      }),
      ['Files', `${rest.files}, all as their checksums say`],
      ['Signed by', rest.signedBy ?? signedBy],
    ]),
  );
}
