/** Tokens, certificates and users, made up for the tests of the routes: a token is a role, and maybe a tag as its scope. */
import type { ApiDeps } from '../../../../server/routes/deps.ts';
import { FairleadError } from '../../../../shared/errors.ts';
import type { Role } from '../../../../shared/messages/kind.ts';
import { NOW } from './fake-host.ts';

type Called = (name: string, ...args: unknown[]) => Promise<void>;

type AccessDeps = Pick<ApiDeps, 'apiTokens' | 'operatorCertificates' | 'users' | 'logins'>;

export interface FakeAccess {
  readonly access: AccessDeps;
  /** Revokes a token as the service would, or lets it end at a time. */
  readonly revokeToken: (tokenId: string, endsAt?: number) => void;
}

/** @param called is told of what is asked */
export function fakeAccess(called: Called): FakeAccess {
  const listeners = new Set<(tokenId: string, endsAt?: number) => void>();
  const access: AccessDeps = {
    apiTokens: {
      authenticate: async (token) => {
        const [role = '', tag] = token.split('#');
        if (!['viewer', 'operator', 'admin'].includes(role)) {
          throw new FairleadError('UNAUTHORIZED', 'the API token is not valid');
        }
        const scope = tag === undefined ? undefined : { hosts: [], tags: [tag] };
        return { tokenId: `id-${token}`, name: `the-${token}`, role: role as Role, scope };
      },
      create: async (...args) => {
        await called('apiTokens.create', ...args);
        const [{ name, role, expiresAt, hosts = [], tags = [] }] = args;
        return { id: 't1', token: 'fla1.secret', name, role, scope: { hosts, tags }, expiresAt };
      },
      rotate: async (...args) => {
        await called('apiTokens.rotate', ...args);
        return { id: 't2', token: 'fla1.next', name: 'x', role: 'viewer', replacedEndsAt: NOW };
      },
      list: async () => ({ items: [] }),
      revoke: (...args) => called('apiTokens.revoke', ...args),
      onRevoked: (listener) => {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
    },
    operatorCertificates: {
      authenticate: () => undefined,
      create: async (...args) => {
        await called('operatorCertificates.create', ...args);
        return { serial: 'AB', operatorId: 'o1', certificate: 'CERT', ca: 'CA', notAfter: NOW };
      },
      list: async () => ({ items: [] }),
      revoke: (...args) => called('operatorCertificates.revoke', ...args),
      onRevoked: () => () => undefined,
    },
    users: {
      create: async (user, ...args) => {
        await called('users.create', user, ...args);
        const { name, role } = user;
        return { id: 'u1', name, role, hosts: [], tags: [], createdBy: 'a', createdAt: NOW, passwordChangedAt: NOW };
      },
      list: async () => ({ items: [] }),
      setPassword: (...args) => called('users.setPassword', ...args),
      remove: (...args) => called('users.remove', ...args),
    },
    logins: {
      login: async () => {
        throw new FairleadError('NOT_FOUND', 'login by password is off');
      },
      authenticate: async () => {
        throw new FairleadError('UNAUTHORIZED', 'the session is over');
      },
      fitsCsrfToken: () => false,
      session: () => {
        throw new FairleadError('UNAUTHORIZED', 'the session is over');
      },
      logout: (...args) => called('logins.logout', ...args),
      onRevoked: () => () => undefined,
    },
  };
  const revokeToken = (tokenId: string, endsAt?: number) => {
    for (const listener of listeners) listener(tokenId, endsAt);
  };
  return { access, revokeToken };
}
