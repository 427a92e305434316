/** Releases of the agent, made up for the tests of the routes. */
import type { HostUpgradesService, ReleasesService } from '../../../../server/routes/deps/releases.ts';
import { HOST, NOW } from './fake-host.ts';

type Called = (name: string, ...args: unknown[]) => Promise<void>;

export const SIGNED = {
  ...{ version: '0.2.0', sequence: 7, os: 'linux', arch: 'x64', bytes: 10, sha256: 'ab'.repeat(32) },
  ...{ keyId: 'cd'.repeat(8), signature: `${'A'.repeat(86)}==` },
};

const RELEASE = {
  ...{ sequence: 7, version: '0.2.0', verified: true, createdBy: 'ann', createdAt: NOW, state: 'ready' as const },
  files: [{ signed: SIGNED, gzBytes: 5, storedAt: NOW }],
};

export function fakeReleases(called: Called): { releases: ReleasesService; upgrades: HostUpgradesService } {
  return {
    releases: {
      list: () => [RELEASE],
      get: () => RELEASE,
      chosen: () => RELEASE,
      add: async (files, actor) => {
        await called('releases.add', files, actor);
        return RELEASE;
      },
      receive: async (platform, body, actor) => {
        body.resume();
        await called('releases.receive', platform, actor);
        return RELEASE;
      },
      remove: (...args) => called('releases.remove', ...args),
    },
    upgrades: {
      wish: async (ref, { release, by }) => {
        await called('upgrades.wish', ref, release.sequence, by);
        const { id: hostId, name: hostName } = HOST;
        return { hostId, hostName, from: '0.1.0', to: '0.2.0', sequence: 7, state: 'offered' };
      },
      cancel: (...args) => called('upgrades.cancel', ...args),
    },
  };
}
