/** The CA between the store that it rests in and the files that carry its pin. */
import { existsSync } from 'node:fs';
import type { Logger } from 'pino';
import type { Clock } from '../shared/clock.ts';
import { FairleadError } from '../shared/errors.ts';
import { Audit } from './audit/audit.ts';
import { Authority } from './authority/authority.ts';
import type { Commit } from './authority/ports.ts';
import { resealCa } from './authority/reseal.ts';
import { readCaPassphrase, readNewCaPassphrase, type ServerConfig } from './config.ts';
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
export async function changeCaSecret({ config, clock, log }: CaOptions): Promise<void> {
  if (!existsSync(config.dataDir)) {
    throw new FairleadError('VALIDATION', `there is no data directory ${config.dataDir}: start the server once`);
  }
  const store = await openStore({ dataDir: config.dataDir, clock });
  try {
    await resealCa({
      settings: store.settings,
      commit: committer(store, new Audit({ store, clock, log })),
      dataDir: config.dataDir,
      passphrase: await readCaPassphrase(config),
      newPassphrase: await readNewCaPassphrase(config),
    });
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
