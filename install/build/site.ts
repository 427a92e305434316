/** Makes a site archive. The same sources and keys make the same bytes. */
import { execFile } from 'node:child_process';
import type { KeyObject } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { readSigningKey } from '../../server/cli/commands/files.ts';
import { buildBundles } from './bundles.ts';
import { ROOT } from './bundling.ts';
import { buildExecutables } from './executable.ts';
import { PINNED, targetOf } from './node-binary.ts';
import { publicKeysOf, sequenceOf } from './release-keys.ts';
import { makeSite } from './site-archive.ts';
import { failed } from './usage.ts';

const USAGE = `Usage: npm run bundle -- [options]

Makes one archive with the server, agents and installers, for sites without a network.

  --target TARGET         linux-x64 or linux-arm64, of the server; may be repeated (by default this platform)
  --agent TARGET          the platform of hosts; may be repeated (by default all)
  --release-key FILE.pub  a public key that the agents take releases by; may be repeated (by default they take none)
  --sign-key FILE         sign the agents and the checksums by this key of fairlead release keygen; with --sequence
  --passphrase-file FILE  a file with the passphrase that the key rests under
  --sequence NUMBER       above that of every release before
  --out DIR               where to put it (by default dist)
`;

process.exitCode = await main();

async function main(): Promise<number> {
  try {
    const several = { type: 'string', multiple: true } as const;
    const one = { type: 'string' } as const;
    const { values } = parseArgs({
      options: {
        ...{ target: several, agent: several, 'release-key': several, out: one },
        ...{ 'sign-key': one, 'passphrase-file': one, sequence: one },
        help: { type: 'boolean', short: 'h' },
      },
    });
    if (values.help === true) {
      process.stdout.write(USAGE);
      return 0;
    }
    const targets = (values.target ?? [`${process.platform}-${process.arch}`]).map(targetOf);
    const agents = (values.agent ?? Object.keys(PINNED)).map(targetOf);
    const outDir = values.out ?? `${ROOT}dist`;
    const releaseKeys = await publicKeysOf(values['release-key'] ?? []);
    const sequence = sequenceOf(values.sequence);
    const signing = { key: values['sign-key'], sequence: values.sequence, passphraseFile: values['passphrase-file'] };
    const privateKey = await signingKey(signing);
    await buildBundles();
    const agentFiles = await mkdtemp(join(tmpdir(), 'fairlead-site-'));
    try {
      await buildExecutables(agents, agentFiles, { releaseKeys, ...sequence });
      if (privateKey !== undefined) await signAgents(agentFiles, signing);
      for (const target of targets) {
        const file = await makeSite(target, { agentFiles, outDir, ...(privateKey && { privateKey }) });
        process.stdout.write(`${file}\n`);
      }
    } finally {
      await rm(agentFiles, { recursive: true, force: true });
    }
    return 0;
  } catch (error) {
    return failed('bundle', error);
  }
}

interface Signing {
  readonly key: string | undefined;
  readonly sequence: string | undefined;
  readonly passphraseFile: string | undefined;
}

/** Read first: what takes minutes shall not be done in vain. */
async function signingKey({ key, sequence, passphraseFile }: Signing): Promise<KeyObject | undefined> {
  if ((key === undefined) !== (sequence === undefined)) throw new Error('--sign-key and --sequence go together');
  return key === undefined ? undefined : await readSigningKey(key, passphraseFile);
}

/** As `fairlead release sign` does. */
async function signAgents(dir: string, { key = '', sequence = '', passphraseFile }: Signing): Promise<void> {
  const options = ['--key', key, '--sequence', sequence];
  if (passphraseFile !== undefined) options.push('--passphrase-file', passphraseFile);
  const args = [`${ROOT}server/cli/main.ts`, 'release', 'sign', dir, ...options];
  await promisify(execFile)(process.execPath, args);
}
