/** Schemas that several families of routes share. */
import Type, { type Static } from 'typebox';
import { MAX_NAME_CHARS, MAX_TAGS } from '../../shared/limits.ts';
import { ContainerRef } from '../../shared/messages/container.ts';
import { DockerState, HostPolicy, Tags } from '../../shared/messages/control.ts';
import { DockerObject } from '../../shared/messages/family.ts';
import { ImageRef } from '../../shared/messages/image.ts';
import { NetworkRef } from '../../shared/messages/network.ts';
import { VolumeName } from '../../shared/messages/volume.ts';
import { MAX_SCOPE_HOSTS } from '../access/scope.ts';
import { LinkView } from './link-schemas.ts';

const strict = { additionalProperties: false };
const nullable = <const S extends Type.TSchema>(schema: S) => Type.Union([schema, Type.Null()]);

/** RFC 3339 in UTC. */
export const Instant = Type.String({ format: 'date-time' });
export const Text = Type.String();
export const RoleName = Type.Union([Type.Literal('viewer'), Type.Literal('operator'), Type.Literal('admin')]);

/** A host's id or name. */
export const HostRef = Type.String({
  minLength: 1,
  maxLength: MAX_NAME_CHARS,
  pattern: '^[A-Za-z0-9][A-Za-z0-9._-]*$',
  description: "A host's id or name",
});
/** A name that a person gives to a host. */
export const HostName = Type.String({ minLength: 1, maxLength: 63, pattern: '^[A-Za-z0-9][A-Za-z0-9._-]*$' });
/** The id of a row: of a token, for example. */
export const RowId = Type.String({ minLength: 1, maxLength: 64, pattern: '^[A-Za-z0-9_-]+$' });
/** A label that a person gives to a token. */
export const Label = Type.String({ minLength: 1, maxLength: MAX_NAME_CHARS, pattern: '^[^\\x00-\\x1f\\x7f]+$' });

export const HostParams = Type.Object({ host: HostRef }, strict);
export const ContainerParams = Type.Object({ host: HostRef, container: ContainerRef }, strict);
/** The name of an image may have slashes: they are escaped in a path. */
export const ImageParams = Type.Object({ host: HostRef, image: ImageRef }, strict);
export const NetworkParams = Type.Object({ host: HostRef, network: NetworkRef }, strict);
export const VolumeParams = Type.Object({ host: HostRef, volume: VolumeName }, strict);
export const IdParams = Type.Object({ id: RowId }, strict);

export const DEFAULT_PAGE_ITEMS = 100;
export const PAGE_QUERY = {
  limit: Type.Optional(
    Type.Integer({ minimum: 1, maximum: 500, description: `The most items, ${DEFAULT_PAGE_ITEMS} unless given` }),
  ),
  cursor: Type.Optional(
    Type.String({ minLength: 1, maxLength: 512, description: 'nextCursor of the page before, as it came' }),
  ),
};
export const PageQuery = Type.Object(PAGE_QUERY, strict);

/** One page of a list. */
export function pageOf<const S extends Type.TSchema>(item: S) {
  return Type.Object({
    items: Type.Array(item),
    nextCursor: Type.Union([Type.String(), Type.Null()], { description: 'null on the last page' }),
  });
}

/** From the wish on; `done`, `failed` and `refused` are its ends. */
export const UpgradeState = Type.Enum([
  ...(['wished', 'offered', 'downloading', 'verifying', 'trying', 'restarting', 'done', 'failed', 'refused'] as const),
]);

/** Whether a host's agent can be upgraded from here, and what became of the last wish for that. */
export const HostUpgradeView = Type.Object({
  able: Type.Union([Type.Boolean(), Type.Null()], {
    description: 'Whether its agent can replace itself; null while it is not connected',
  }),
  reason: Type.Union([Text, Type.Null()], { description: 'Why not' }),
  wished: Type.Union([Type.Object({ version: Text, sequence: Type.Integer() }), Type.Null()], {
    description: 'The release that it is wished to run, or was last',
  }),
  from: nullable(Text),
  state: nullable(UpgradeState),
  error: Type.Union([Type.Object({ code: Text, detail: Text }), Type.Null()], {
    description: 'Why it failed or was refused',
  }),
  receivedBytes: nullable(Type.Integer()),
  totalBytes: Type.Union([Type.Integer(), Type.Null()], { description: 'Of the compressed executable' }),
  rollout: Type.Union([Text, Type.Null()], { description: 'The id of the rollout that wishes it' }),
  wishedAt: nullable(Instant),
  changedAt: nullable(Instant),
  endedAt: nullable(Instant),
});
export type HostUpgradeView = Static<typeof HostUpgradeView>;

export const HostView = Type.Object({
  id: Text,
  name: Text,
  kind: Type.Union([Type.Literal('native'), Type.Literal('hawser-edge'), Type.Literal('hawser-standard')]),
  state: Type.Union([
    Type.Literal('online'),
    Type.Literal('offline'),
    Type.Literal('pending'),
    Type.Literal('revoked'),
  ]),
  hostname: nullable(Text),
  os: nullable(Text),
  arch: nullable(Text),
  agentVersion: nullable(Text),
  tags: Tags,
  docker: nullable(DockerState),
  capabilities: Type.Array(Text),
  policy: nullable(HostPolicy),
  createdAt: Instant,
  connectedAt: nullable(Instant),
  lastSeenAt: nullable(Instant),
  certificate: nullable(Type.Object({ serial: Text, notAfter: Instant })),
  revokedAt: nullable(Instant),
  revokeReason: nullable(Text),
  quarantine: Type.Union([Type.Object({ at: Instant, reason: Text }), Type.Null()], {
    description: 'Set while the host is kept out because its identity is in use twice, until it is released or revoked',
  }),
  upgrade: Type.Union([HostUpgradeView, Type.Null()], { description: 'null for an agent that is not of Fairlead' }),
});
export type HostView = Static<typeof HostView>;

/** A host that was asked for by itself. */
export const HostDetail = Type.Object({
  ...HostView.properties,
  link: Type.Union([LinkView, Type.Null()], {
    description: 'What its session has measured; null while there is none, or for a protocol that does not measure',
  }),
});
export type HostDetail = Static<typeof HostDetail>;

export const CertificateView = Type.Object({
  serial: Text,
  hostId: nullable(Text),
  hostName: nullable(Text),
  state: Type.Union([
    Type.Literal('pending'),
    Type.Literal('active'),
    Type.Literal('revoked'),
    Type.Literal('superseded'),
  ]),
  spkiPin: Text,
  notBefore: Instant,
  notAfter: Instant,
  issuedAt: Instant,
  revokedAt: nullable(Instant),
  reason: nullable(Text),
});
export type CertificateView = Static<typeof CertificateView>;

export const EnrollmentTokenView = Type.Object({
  id: Text,
  name: nullable(Text),
  state: Type.Union([Type.Literal('pending'), Type.Literal('used'), Type.Literal('expired'), Type.Literal('revoked')]),
  hostName: nullable(Text),
  tags: Tags,
  createdAt: Instant,
  createdBy: nullable(Text),
  expiresAt: Instant,
  usedAt: nullable(Instant),
  revokedAt: nullable(Instant),
  hostId: nullable(Text),
  adopts: Type.Union([Text, Type.Null()], { description: 'The id of the host that it takes over' }),
});
export type EnrollmentTokenView = Static<typeof EnrollmentTokenView>;

/** The lists by which a caller limits a token to some hosts. */
export const SCOPE_LISTS = {
  hosts: Type.Optional(
    Type.Array(HostRef, {
      minItems: 1,
      maxItems: MAX_SCOPE_HOSTS,
      description: 'Only for these hosts, and those with one of `tags`; neither list: for the whole installation',
    }),
  ),
  tags: Type.Optional(Type.Array(Tags.items, { minItems: 1, maxItems: MAX_TAGS, description: 'As `hosts`' })),
};

/** Which hosts a token is limited to. */
export const ScopeView = Type.Union(
  [
    Type.Object({
      hosts: Type.Array(
        Type.Object({ id: Text, name: Type.Union([Text, Type.Null()], { description: 'null: it was removed' }) }),
      ),
      tags: Type.Array(Text),
    }),
    Type.Null(),
  ],
  { description: 'These hosts, and those with one of these tags; null: the whole installation' },
);
export type ScopeView = Static<typeof ScopeView>;

export const ApiTokenView = Type.Object({
  id: Text,
  name: Text,
  role: RoleName,
  scope: ScopeView,
  createdBy: nullable(Text),
  createdAt: Instant,
  expiresAt: nullable(Instant),
  lastUsedAt: nullable(Instant),
  lastUsedAddress: nullable(Text),
  revokedAt: nullable(Instant),
  replacedBy: Type.Union([Text, Type.Null()], { description: 'The id of the token that took its place' }),
});
export type ApiTokenView = Static<typeof ApiTokenView>;

export const RecoveryView = Type.Object({
  id: Text,
  hostId: Text,
  hostName: nullable(Text),
  state: Type.Union([Type.Literal('pending'), Type.Literal('approved'), Type.Literal('denied')]),
  serial: Type.String({ description: 'Of the certificate that the host came with' }),
  why: Type.String({ description: 'Why that one does not count' }),
  spkiPin: Type.String({ description: 'Of the key that the new certificate is to be for' }),
  address: Text,
  requestedAt: Instant,
  expiresAt: Instant,
  decidedBy: nullable(Text),
  decidedAt: nullable(Instant),
});
export type RecoveryView = Static<typeof RecoveryView>;

export const AuditRow = Type.Object({
  id: Type.Union([Type.String(), Type.Integer()]),
  at: Instant,
  actor: Text,
  address: nullable(Text),
  action: Text,
  target: nullable(Text),
  result: Type.Union([Type.Literal('ok'), Type.Literal('refused'), Type.Literal('failed')]),
  detail: nullable(Type.Record(Type.String(), Type.Unknown())),
  hash: Type.Union([Text, Type.Null()], { description: 'Binds the row to the one before it' }),
});
export type AuditRow = Static<typeof AuditRow>;

/** Something that happened on a host or to it. */
export const EventView = Type.Object({
  id: Type.Integer({ description: 'Rises from event to event' }),
  time: Type.String({
    format: 'date-time',
    description: 'When it happened, by the clock of the host if it happened there',
  }),
  host: Type.Union([Text, Type.Null()], { description: 'Its name at that time' }),
  hostId: nullable(Text),
  type: Type.String({ description: 'As container.start, host.online, events.gap' }),
  action: Type.Union([Text, Type.Null()], { description: "Docker's own word where the type does not say all of it" }),
  subject: Type.Union([Text, Type.Null()], { description: 'What it happened to, as the id of a container' }),
  attributes: Type.Record(Type.String(), Type.String()),
});
export type EventView = Static<typeof EventView>;

export const WebhookView = Type.Object({
  id: Text,
  name: nullable(Text),
  url: Text,
  types: nullable(Type.Array(Text)),
  hosts: Type.Union([Type.Array(Text), Type.Null()], { description: 'Ids; null: of all' }),
  tags: nullable(Type.Array(Text)),
  state: Type.Union([Type.Literal('ok'), Type.Literal('retrying'), Type.Literal('failing')], {
    description: 'failing: for a minute and more; what it has not got waits for it as long as events are kept',
  }),
  createdBy: Text,
  createdAt: Instant,
  deliveredAt: nullable(Instant),
  failingSince: nullable(Instant),
  failures: Type.Integer({ description: 'In a row' }),
  error: nullable(Text),
  behind: Type.Integer({ description: 'Events that it has not been looked through for yet' }),
});
export type WebhookView = Static<typeof WebhookView>;

/** An object as Docker sent it. */
export const DockerAnswer = DockerObject;
/** An answer without a body. */
export const NoContent = Type.Null({ description: 'Done' });

/** The serial of a certificate, with or without colons. */
export const SerialParams = Type.Object(
  { serial: Type.String({ minLength: 1, maxLength: 64, pattern: '^[0-9A-Fa-f:]+$', description: 'Hex' }) },
  strict,
);
/** The hosts that something is limited to. */
export const HostRefs = Type.Array(HostRef, { maxItems: 100, description: 'Limited to these hosts, by id or name' });
export const UserName = Type.String({
  minLength: 1,
  maxLength: MAX_NAME_CHARS,
  pattern: '^[A-Za-z0-9][A-Za-z0-9._@+-]*$',
});

export const OperatorCertificateView = Type.Object({
  serial: Text,
  id: Type.String({ description: 'Stands in the certificate as its CN' }),
  name: Text,
  role: RoleName,
  state: Type.Union([Type.Literal('active'), Type.Literal('expired'), Type.Literal('revoked')]),
  hosts: Type.Array(Text),
  tags: Type.Array(Text),
  createdBy: Text,
  createdAt: Instant,
  notAfter: Instant,
  lastUsedAt: nullable(Instant),
  revokedAt: nullable(Instant),
});
export type OperatorCertificateView = Static<typeof OperatorCertificateView>;

export const UserView = Type.Object({
  id: Text,
  name: Text,
  role: RoleName,
  hosts: Type.Array(Text),
  tags: Type.Array(Text),
  createdBy: Text,
  createdAt: Instant,
  passwordChangedAt: Instant,
  lastLoginAt: nullable(Instant),
});
export type UserView = Static<typeof UserView>;

export const SessionView = Type.Object({
  user: Text,
  role: RoleName,
  hosts: Type.Array(Text),
  tags: Type.Array(Text),
  csrfToken: Type.String({ description: 'For the header x-csrf-token' }),
  expiresAt: Type.String({ format: 'date-time', description: 'The latest end; without a request it comes sooner' }),
});
export type SessionView = Static<typeof SessionView>;
