/** The certificate authority, made up for the tests of the routes: the next root is published. */
import type { ApiDeps } from '../../../../server/routes/deps.ts';
import { NOW } from './fake-host.ts';

type Called = (name: string, ...args: unknown[]) => Promise<void>;

/** @param called is told of what is asked */
export function fakeAuthority(called: Called): Pick<ApiDeps, 'authority' | 'rotation' | 'offlineRoot'> {
  return {
    authority: {
      installationId: 'i1',
      caPem: '-----BEGIN CERTIFICATE-----\n',
      caFingerprint: 'sha256:00',
      ca: { isIntermediate: false, subject: 'CN=Fairlead', notBefore: new Date(NOW), notAfter: new Date(NOW) },
      phase: 'published',
      trust: () => ({ version: 2, roots: [aRoot('current'), aRoot('next')], pem: '-----BEGIN CERTIFICATE-----\n' }),
      warnings: () => ['it ends soon'],
    },
    rotation: {
      status: async () => ({
        phase: 'published' as const,
        ...{ hosts: 2, acknowledged: 1 },
        unacknowledged: [{ id: 'h1', name: 'edge-1' }],
        otherCertificates: [],
        otherOperatorCertificates: [{ serial: 'AB', name: 'ann', notAfter: 0 }],
      }),
      take: (...args) => called('rotation.take', ...args),
    },
    offlineRoot: {
      request: async (...args) => {
        await called('offlineRoot.request', ...args);
        return 'a request';
      },
      import: async (...args) => {
        await called('offlineRoot.import', ...args);
        return 'published' as const;
      },
    },
  };
}

function aRoot(role: 'current' | 'next') {
  const valid = { notBefore: new Date(NOW), notAfter: new Date(NOW) };
  return { role, fingerprint: 'sha256:00', certPem: '', subject: 'CN=Fairlead', offline: false, ...valid };
}
