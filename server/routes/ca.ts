/** The CA, for whoever wants to trust this installation: public, since a certificate is no secret and the pin is compared. */
import Type from 'typebox';
import { actorOf, principalOf } from './access.ts';
import type { Api } from './app-types.ts';
import type { RouteContext } from './context.ts';
import type { AuthorityView, RotationService } from './deps/authority.ts';
import { Instant } from './schemas.ts';

const strict = { additionalProperties: false };
/** What a signed request may take: some certificates. */
const MAX_BUNDLE_CHARS = 64 * 1024;
/** Hosts, and operators' certificates, that an answer names; the counts are of all. */
const MAX_NAMED_HOSTS = 200;

const Phase = Type.Union([Type.Literal('stable'), Type.Literal('published'), Type.Literal('activated')], {
  description:
    'published: a next root is trusted by whoever was told; activated: it issues, and the previous one is still trusted',
});
const Fingerprint = Type.String({ description: "sha256: and the SHA-256 of the public key's SPKI, in hex" });
const RootView = Type.Object({
  role: Type.Union([Type.Literal('current'), Type.Literal('next'), Type.Literal('previous')]),
  fingerprint: Fingerprint,
  subject: Type.String(),
  notBefore: Instant,
  notAfter: Instant,
  offline: Type.Boolean({ description: 'Its key is on another machine; an intermediate issues for it' }),
});
const IntermediateView = Type.Object({ subject: Type.String(), notBefore: Instant, notAfter: Instant });
const CaView = Type.Object({
  fingerprint: Fingerprint,
  subject: Type.String(),
  notBefore: Instant,
  notAfter: Instant,
  installationId: Type.String(),
  certificate: Type.String({ description: 'The current root, in PEM' }),
  phase: Phase,
  trustVersion: Type.Integer({ description: 'Counts the changes of what is trusted' }),
  roots: Type.Array(RootView, { description: 'All that are trusted, the current one first' }),
  intermediate: Type.Union([IntermediateView, Type.Null()], { description: 'What issues, if the root is offline' }),
  warnings: Type.Array(Type.String(), { description: 'What ends soon' }),
});

const HostNames = Type.Array(Type.Object({ id: Type.String(), name: Type.String() }));
const RotationView = Type.Object({
  phase: Phase,
  hosts: Type.Integer({ description: 'That have a certificate' }),
  acknowledged: Type.Integer({ description: 'How many of them trust the next root, or else the current one' }),
  unacknowledged: Type.Array(HostNames.items, { description: `Those that do not; at most ${MAX_NAMED_HOSTS}` }),
  otherCertificates: Type.Array(HostNames.items, {
    description: `Those who may come back with a certificate that is not of the current root; at most ${MAX_NAMED_HOSTS}`,
  }),
  otherOperatorCertificates: Type.Object(
    {
      count: Type.Integer(),
      items: Type.Array(Type.Object({ serial: Type.String(), name: Type.String(), notAfter: Instant }), {
        description: `The newest ones, for admins alone; at most ${MAX_NAMED_HOSTS}`,
      }),
    },
    {
      description:
        "Operators' certificates that are not of the current root: they end when theirs is retired, and need to be made anew",
    },
  ),
});
const RotationBody = Type.Object(
  {
    action: Type.Union([
      Type.Literal('publish'),
      Type.Literal('activate'),
      Type.Literal('retire'),
      Type.Literal('abort'),
    ]),
    force: Type.Optional(Type.Boolean({ description: 'Takes the step although it locks hosts out' })),
  },
  strict,
);
const RequestView = Type.Object({ csr: Type.String({ description: 'PEM' }) });
const ImportBody = Type.Object(
  {
    bundle: Type.String({
      minLength: 1,
      maxLength: MAX_BUNDLE_CHARS,
      description: 'Root and intermediate in PEM, as `fairlead ca sign` writes them',
    }),
  },
  strict,
);
const ImportView = Type.Object({
  result: Type.Union([Type.Literal('published'), Type.Literal('renewed')], {
    description: 'published: the root is the next one; renewed: the intermediate of the same root is in use',
  }),
});

export function caRoutes(api: Api, context: RouteContext): void {
  publicRoutes(api, context);
  rotationRoutes(api, context);
  offlineRoutes(api, context);
}

function publicRoutes(api: Api, { deps }: RouteContext): void {
  const { authority } = deps;

  api.get(
    '/ca.pem',
    {
      config: { access: 'public', scope: 'none' },
      schema: {
        tags: ['ca'],
        summary: 'The trusted roots, the current one first, and how they endorse each other',
        produces: ['application/x-pem-file'],
      },
    },
    async (_request, reply) => reply.type('application/x-pem-file').send(authority.trust().pem),
  );

  api.get(
    '/api/v1/ca',
    {
      config: { access: 'public', scope: 'none' },
      schema: { tags: ['ca'], summary: 'The CA', response: { 200: CaView } },
    },
    async () => caView(authority),
  );
}

function rotationRoutes(api: Api, { deps }: RouteContext): void {
  api.get(
    '/api/v1/ca/rotation',
    {
      config: { access: 'viewer', scope: 'installation' },
      schema: { tags: ['ca'], summary: 'How far a rotation of the CA has come', response: { 200: RotationView } },
    },
    async (request) => rotationView(deps.rotation, principalOf(request).role === 'admin'),
  );

  api.post(
    '/api/v1/ca/rotation',
    {
      config: { access: 'admin', scope: 'installation' },
      schema: {
        tags: ['ca'],
        summary: 'Takes a step in the rotation of the CA',
        description:
          'publish, activate, retire; abort goes one step back. A step that would lock hosts out is refused with ' +
          'CONFLICT, and names them, unless it is forced.',
        body: RotationBody,
        response: { 200: RotationView },
      },
    },
    async (request) => {
      const { action, force = false } = request.body;
      await deps.rotation.take(action, { force }, actorOf(request));
      return await rotationView(deps.rotation, true);
    },
  );
}

function offlineRoutes(api: Api, { deps }: RouteContext): void {
  api.post(
    '/api/v1/ca/request',
    {
      config: { access: 'admin', scope: 'installation' },
      schema: {
        tags: ['ca'],
        summary: 'Makes the key of an intermediate, and the request for an offline root to sign',
        response: { 201: RequestView },
      },
    },
    async (request, reply) => reply.code(201).send({ csr: await deps.offlineRoot.request(actorOf(request)) }),
  );

  api.post(
    '/api/v1/ca/import',
    {
      config: { access: 'admin', scope: 'installation' },
      schema: {
        tags: ['ca'],
        summary: 'Takes in what an offline root has signed',
        body: ImportBody,
        response: { 200: ImportView },
      },
    },
    async (request) => ({ result: await deps.offlineRoot.import(request.body.bundle, actorOf(request)) }),
  );
}

function caView(authority: AuthorityView) {
  const { roots, version } = authority.trust();
  const [current] = roots;
  if (current === undefined) throw new Error('there is always a current root');
  const { ca } = authority;
  return {
    ...validity(current),
    fingerprint: authority.caFingerprint,
    installationId: authority.installationId,
    certificate: authority.caPem,
    phase: authority.phase,
    trustVersion: version,
    roots: roots.map(({ role, fingerprint, offline, ...root }) => ({ role, fingerprint, offline, ...validity(root) })),
    intermediate: ca.isIntermediate ? validity(ca) : null,
    warnings: authority.warnings(),
  };
}

/** @param isAdmin others learn how many operators there are, and not who */
async function rotationView(rotation: RotationService, isAdmin: boolean) {
  const { unacknowledged, otherCertificates, otherOperatorCertificates: others, ...rest } = await rotation.status();
  const items = others.slice(0, isAdmin ? MAX_NAMED_HOSTS : 0).map(({ serial, name, notAfter }) => ({
    ...{ serial, name },
    notAfter: new Date(notAfter).toISOString(),
  }));
  return {
    ...rest,
    otherOperatorCertificates: { count: others.length, items },
    unacknowledged: unacknowledged.slice(0, MAX_NAMED_HOSTS),
    otherCertificates: otherCertificates.slice(0, MAX_NAMED_HOSTS),
  };
}

function validity({ subject, notBefore, notAfter }: { subject: string; notBefore: Date; notAfter: Date }) {
  return { subject, notBefore: notBefore.toISOString(), notAfter: notAfter.toISOString() };
}
