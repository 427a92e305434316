/** The host that a token stands for: the one that it is bound to, or a new one of its name. */
import { randomUUID } from 'node:crypto';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError } from '../../shared/errors.ts';
import type { Hello } from '../../shared/hawser/messages.ts';
import type { Audit } from '../audit/audit.ts';
import type { Tables } from '../store/all-tables.ts';
import type { HawserTokenRow } from '../store/hawser-tokens.ts';
import { isHostId, nameFromHostname } from '../store/host-names.ts';
import type { HostRow } from '../store/hosts.ts';
import type { Store } from '../store/store.ts';

export interface HostOfTokenDeps {
  readonly store: Store;
  readonly audit: Audit;
  readonly clock: Clock;
}

export class HostOfToken {
  readonly #deps: HostOfTokenDeps;

  constructor(deps: HostOfTokenDeps) {
    this.#deps = deps;
  }

  /** @throws FairleadError TOKEN_INVALID if its host is gone or revoked, STORE_FULL, STORE_UNAVAILABLE */
  async find(token: HawserTokenRow, hello: Omit<Hello, 'token'>, address: string): Promise<HostRow> {
    const { store } = this.#deps;
    const host =
      token.hostId === undefined ? await this.#make(token, hello, address) : await store.hosts.find(token.hostId);
    if (host === undefined) throw new FairleadError('TOKEN_INVALID', 'the host of this Hawser token was removed');
    if (host.revokedAt === undefined) return host;
    throw new FairleadError('TOKEN_INVALID', `the host ${host.name} is revoked`);
  }

  /** Once, however many agents show the token for the first time at once. */
  async #make(token: HawserTokenRow, hello: Omit<Hello, 'token'>, address: string): Promise<HostRow | undefined> {
    const { store, audit, clock } = this.#deps;
    return await store.transaction(async (tables) => {
      const bound = (await tables.hawserTokens.find(token.id))?.hostId;
      if (bound !== undefined) return await tables.hosts.find(bound);
      const host = await insertHost(tables, token, hello, clock.now());
      await tables.hawserTokens.bind(token.id, host.id);
      const detail = { name: host.name, kind: host.kind, tokenId: token.id };
      const entry = { actor: `hawser-token:${token.id}`, address, action: 'host.enroll', target: host.id };
      await audit.record({ ...entry, result: 'ok', detail }, tables);
      return host;
    });
  }
}

async function insertHost(
  tables: Tables,
  token: HawserTokenRow,
  hello: Omit<Hello, 'token'>,
  now: number,
): Promise<HostRow> {
  return await tables.hosts.insert({
    id: randomUUID(),
    name: await tables.hosts.freeName(hostNameOf(token.name)),
    kind: 'hawser-edge',
    ...{ os: '', arch: '', tags: [] },
    hostname: hello.hostname || hello.agentName,
    agentVersion: hello.version,
    createdAt: now,
  });
}

/** A token's name as it stands, where a host may be called so. */
function hostNameOf(name: string): string {
  return /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(name) && !isHostId(name) ? name : nameFromHostname(name);
}
