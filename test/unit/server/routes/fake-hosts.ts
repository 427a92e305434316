/** Hosts, and how they come in and back, made up for the tests of the routes. */
import { includesHost } from '../../../../server/access/scope.ts';
import { RefusedRequest } from '../../../../server/audit/refused-request.ts';
import type { HostRecord } from '../../../../server/routes/deps/hosts.ts';
import type { ApiDeps } from '../../../../server/routes/deps.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import { type FakeHost, HOST, NOW } from './fake-host.ts';

type Called = (name: string, ...args: unknown[]) => Promise<void>;

type HostDeps = Pick<ApiDeps, 'hosts' | 'enrollment' | 'quarantine' | 'recovery'>;

export interface FakeHosts {
  readonly hostDeps: HostDeps;
  /** Gives a host other tags as the service would, or takes it away. */
  readonly retag: (hostId: string, tags: string[] | undefined) => void;
}

/** @param link answers for each of `hosts`  @param called is told of what is asked */
export function fakeHosts(hosts: readonly HostRecord[], link: FakeHost, called: Called): FakeHosts {
  const scopeListeners = new Set<(hostId: string, tags: readonly string[] | undefined) => void>();
  const find = async (ref: string) => {
    const found = hosts.find((each) => each.id === ref || each.name === ref);
    if (found === undefined) throw new FairleadError('HOST_NOT_FOUND', `there is no host ${ref}`);
    return found;
  };
  const hostDeps: HostDeps = {
    hosts: {
      list: async (_page, scope) => ({ items: hosts.filter((each) => includesHost(scope, each)) }),
      idInScope: async (ref, scope) => {
        const found = await find(ref);
        if (!includesHost(scope, found)) throw new FairleadError('HOST_NOT_FOUND', `there is no host ${ref}`);
        return found.id;
      },
      names: async () => new Map(hosts.map(({ id, name }) => [id, name])),
      onScopeChange: (listener) => {
        scopeListeners.add(listener);
        return () => scopeListeners.delete(listener);
      },
      get: find,
      link: async (ref) => {
        const found = await find(ref);
        if (found.state !== 'online') throw new FairleadError('HOST_OFFLINE', `host ${found.name} is not connected`);
        return link;
      },
      linkOnReturn: async (ref, signal) => {
        await find(ref);
        signal.throwIfAborted();
        return link;
      },
      update: async (ref, change, actor) => {
        await called('hosts.update', ref, change, actor);
        return { ...(await find(ref)), ...change };
      },
      remove: (...args) => called('hosts.remove', ...args),
      revoke: (...args) => called('hosts.revoke', ...args),
      revokeSerial: (...args) => called('hosts.revokeSerial', ...args),
      revokeMany: async (...args) => {
        await called('hosts.revokeMany', ...args);
        const found = hosts.filter(({ id, name }) => args[0].hosts.some((ref) => ref === id || ref === name));
        const unknown = args[0].hosts.filter((ref) => !hosts.some(({ id, name }) => ref === id || ref === name));
        const revoked = found.map(({ id, name }) => ({ id, name, serials: ['AB12'] }));
        return { hosts: revoked, certificates: [], notFound: { hosts: unknown, serials: args[0].serials } };
      },
      certificates: async () => ({ items: [] }),
      revocations: async () => ({ items: [] }),
    },
    enrollment: {
      createToken: async (...args) => {
        await called('enrollment.createToken', ...args);
        return { id: 'e1', token: 'fle1.secret', expiresAt: NOW };
      },
      list: async () => ({ items: [], nextCursor: 'next' }),
      revoke: (...args) => called('enrollment.revoke', ...args),
      redeem: async (request, address) => {
        if (request.token !== 'good') {
          const error = new FairleadError('TOKEN_INVALID', 'the token is not valid');
          const row = { actor: 'anonymous', address, action: 'host.enroll', result: 'refused' as const };
          throw new RefusedRequest(error, { ...row, detail: { code: 'TOKEN_INVALID' } });
        }
        return { hostId: HOST.id, name: 'edge-1', certificate: 'CERT', ca: 'CA', notAfter: NOW };
      },
    },
    quarantine: { release: (...args) => called('quarantine.release', ...args) },
    recovery: {
      request: async ({ proof }, address) => {
        if (proof === 'wait') return undefined;
        if (proof === 'good') return { certificate: 'CERT', notAfter: NOW };
        const entry = { actor: 'anonymous', address, action: 'host.recover', target: '', result: 'refused' as const };
        throw new RefusedRequest(new FairleadError('RECOVERY_DENIED', 'denied'), { ...entry, detail: {} });
      },
      list: async () => ({ items: [] }),
      approve: (...args) => called('recovery.approve', ...args),
      deny: (...args) => called('recovery.deny', ...args),
    },
  };
  const retag = (hostId: string, tags: string[] | undefined) => {
    for (const listener of scopeListeners) listener(hostId, tags);
  };
  return { hostDeps, retag };
}
