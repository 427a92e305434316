/** A link whose host never answers, for tests of what is above the wire. */
import type { HostLink, LinkDescription, LinkTraffic } from '../../../../server/hosts/host-link.ts';
import { type ErrorCode, FairleadError } from '../../../../shared/errors.ts';

export interface FakeLink extends HostLink {
  /** What `close` was called with first. */
  readonly closedWith: { code: ErrorCode; reason: string } | undefined;
  /** The connection is lost. */
  drop(code: ErrorCode): void;
}

export function fakeLink(
  hostId: string,
  instanceId = 'instance',
  described: Partial<LinkDescription> = {},
  traffic?: LinkTraffic,
): FakeLink {
  const { promise: closed, resolve } = Promise.withResolvers<FairleadError>();
  let closedWith: { code: ErrorCode; reason: string } | undefined;
  const refuse = () => Promise.reject(new FairleadError('UNSUPPORTED', 'a fake link serves nothing'));
  return {
    hostId,
    instanceId,
    closed,
    call: refuse,
    open: refuse,
    describe: () => ({
      agentVersion: '9.9.9',
      hostname: 'machine',
      os: 'linux',
      arch: 'x64',
      docker: { reachable: true, version: '1.2.3' },
      capabilities: ['container.list'],
      policy: { allow: [], deny: [] },
      connectedAt: 1000,
      lastSeenAt: 2000,
      ...described,
    }),
    traffic: () => traffic,
    ping: refuse,
    close: (code, reason) => {
      closedWith ??= { code, reason };
      resolve(new FairleadError(code, reason));
    },
    drop: (code) => resolve(new FairleadError(code, 'dropped')),
    get closedWith() {
      return closedWith;
    },
  };
}
