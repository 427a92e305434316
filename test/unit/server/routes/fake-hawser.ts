/** Hosts and tokens of Hawser, made up for the tests of the routes. */
import type { ApiDeps } from '../../../../server/routes/deps.ts';
import { HOST, NOW } from './fake-host.ts';

type Called = (name: string, ...args: unknown[]) => Promise<void>;

/** @param called is told of what is asked */
export function fakeHawser(called: Called): Pick<ApiDeps, 'hawser'> {
  return {
    hawser: {
      hosts: {
        add: async (...args) => {
          await called('hawser.add', ...args);
          return aHawserHost(args[0].name);
        },
        list: async () => ({ items: [aHawserHost('nas')] }),
        get: async () => aHawserHost('nas'),
        change: async (...args) => {
          await called('hawser.change', ...args);
          return aHawserHost('nas');
        },
        close: async () => undefined,
      },
      tokens: {
        create: async (...args) => {
          await called('hawser.create', ...args);
          return aHawserToken(args[0].name);
        },
        rotate: async (...args) => {
          await called('hawser.rotate', ...args);
          return { ...aHawserToken('nas'), replacedEndsAt: NOW };
        },
        list: async () => ({ items: [aHawserToken('nas')] }),
        revoke: (...args) => called('hawser.revoke', ...args),
      },
      edge: {
        connections: () => [],
        accept: async ({ ws }) => ws.close(1000),
        close: () => undefined,
      },
      adoption: {
        offer: async (host, ...args) => {
          await called('adoption.offer', host, ...args);
          return { id: 'e2', token: 'fle1.adopt', expiresAt: NOW, hostId: HOST.id, hostName: host };
        },
        look: async (host) => ({ hostId: HOST.id, hostName: host, state: 'trying', why: 'Docker is away' }),
        cancel: (...args) => called('adoption.cancel', ...args),
      },
    },
  };
}

function aHawserToken(name: string) {
  return { id: 'w1', name, prefix: 'AbCdEfGh', token: 'AbCdEfGh-secret', createdBy: 'a', createdAt: NOW };
}

function aHawserHost(hostName: string) {
  const state = { isOnline: true, insecureHttp: false, changedBy: 'a', changedAt: NOW };
  return { hostId: 'h1', hostName, url: 'https://nas:2376/', ...state };
}
