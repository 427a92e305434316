/** The CA between the store that it rests in and the files that carry its pin. */
import { existsSync } from 'node:fs';
import type { Logger } from 'pino';
import { writeFileAtomic } from '../shared/atomic-file.ts';
import type { Clock } from '../shared/clock.ts';
import { FairleadError } from '../shared/errors.ts';
import { Audit } from './audit/audit.ts';
import { Authority } from './authority/authority.ts';
import { importWhileStopped, requestWhileStopped } from './authority/expired-intermediate.ts';
import type { Commit } from './authority/ports.ts';
import { resealCa } from './authority/reseal.ts';
import { readCaImport, readCaPassphrase, readNewCaPassphrase, type ServerConfig } from './config.ts';
import { openStore, type Store } from './store/store.ts';

export interface CaOptions {
  readonly config: ServerConfig;
  readonly clock: Clock;
  readonly log: Logger;
}

/** @param names under which the server is reached. @throws FairleadError as `Authority.open` */
export async function openAuthority(
  { config, clock, log }: CaOptions,
  store: Store,
  audit: Audit,
  names: readonly string[],
): Promise<Authority> {
  return await Authority.open({
    settings: {
      get: (key) => store.settings.get(key),
      // In a transaction, which is on the disk before it returns: a power cut must not take a new CA with it.
      setOnce: (key, value) => store.transaction((tables) => tables.settings.setOnce(key, value)),
    },
    commit: committer(store, audit),
    certificates: store.certificates,
    dataDir: config.dataDir,
    passphrase: await readCaPassphrase(config),
    publicHosts: names,
    agentCertLifeMs: config.agentCertLifeMs,
    clock,
    log,
  });
}

/** Puts the CA's keys under another secret, with no server running. @throws FairleadError in one sentence */
export async function changeCaSecret(options: CaOptions): Promise<void> {
  const { config } = options;
  await withStopped(options, async (store, commit) => {
    await resealCa({
      settings: store.settings,
      commit,
      dataDir: config.dataDir,
      passphrase: await readCaPassphrase(config),
      newPassphrase: await readNewCaPassphrase(config),
    });
  });
}

/**
 * Asks for another intermediate, or takes one in, with no server running.
 * @returns what to do next. @throws FairleadError in one sentence
 */
export async function renewIntermediate({ config, clock, log }: CaOptions): Promise<string> {
  const { intermediate, dataDir } = config;
  if (intermediate === undefined) throw new Error('there is nothing to do about the intermediate');
  return await withStopped({ config, clock, log }, async (store, commit) => {
    const passphrase = await readCaPassphrase(config);
    const options = { settings: store.settings, commit, dataDir, passphrase, clock };
    if ('importFile' in intermediate) {
      await importWhileStopped(options, await readCaImport(intermediate.importFile));
      return 'the intermediate is renewed; start the server';
    }
    await writeFileAtomic(intermediate.requestFile, await requestWhileStopped(options), 0o644);
    return `the request is in ${intermediate.requestFile}: let "fairlead ca sign" sign it, then give that to --ca-import-file`;
  });
}

/** Runs `work` on the store of a server that does not run. */
async function withStopped<T>(
  { config, clock, log }: CaOptions,
  work: (store: Store, commit: Commit) => Promise<T>,
): Promise<T> {
  if (!existsSync(config.dataDir)) {
    throw new FairleadError('VALIDATION', `there is no data directory ${config.dataDir}: start the server once`);
  }
  const store = await openStore({ dataDir: config.dataDir, clock });
  try {
    return await work(store, committer(store, new Audit({ store, clock, log })));
  } finally {
    await store.close();
  }
}

/** A change and its row in one transaction, which is on the disk before it returns. */
function committer(store: Store, audit: Audit): Commit {
  return async (key, value, { actor, address, action, detail }) => {
    await store.transaction(async (tables) => {
      await tables.settings.set(key, value);
      await tables.hostTrust.prune();
      await audit.record({ actor, address, action, target: 'ca', result: 'ok', detail: { ...detail } }, tables);
    });
  };
}

/** Keeps files that carry the CA's pin in step with it, one write after the other. @returns what ends that */
export function followPin(
  authority: Authority,
  log: Logger,
  writers: readonly (() => Promise<void>)[],
): () => Promise<void> {
  let last = Promise.resolve();
  const stop = authority.onTrust(() => {
    for (const write of writers) {
      // The next start writes them anew as well.
      last = last.then(write).catch((error: unknown) => log.error({ err: error }, "a file with the CA's pin is stale"));
    }
  });
  return async () => {
    stop();
    await last;
  };
}
