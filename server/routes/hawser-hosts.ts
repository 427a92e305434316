/** Hosts whose agents of Hawser listen, and which the server dials: made, shown and changed; they are removed as any host is. */
import Type, { type Static } from 'typebox';
import { Tags } from '../../shared/messages/control.ts';
import { actorOf } from './access.ts';
import type { Api } from './app-types.ts';
import type { RouteContext } from './context.ts';
import type { HawserHostRecord } from './deps/hawser.ts';
import { HostName, HostParams, Instant, PageQuery, pageOf, Text } from './schemas.ts';
import { instant, instantOrNull, pageRequest, pageView } from './views.ts';

const PATH = '/api/v1/hawser-hosts';
const nullable = <const S extends Type.TSchema>(schema: S) => Type.Union([schema, Type.Null()]);

const Url = Type.String({
  ...{ minLength: 1, maxLength: 2_048 },
  description: 'Where the agent listens, as an https URL with its port',
});
const Token = Type.String({ minLength: 1, maxLength: 512, description: "The agent's TOKEN; sealed, and never shown" });
const Ca = Type.String({ maxLength: 16_384, description: "The CA of the agent's certificate, in PEM" });
const Pin = Type.String({
  maxLength: 128,
  description: "SHA-256 of the agent's certificate, as sha256: and 64 hex digits: in place of a CA",
});
const ProxyUrl = Type.String({
  ...{ minLength: 1, maxLength: 2_048 },
  description: 'An HTTP proxy, for https alone; its user and password are sealed, and never shown',
});
const InsecureHttp = Type.Boolean({ description: 'Agrees that the token goes over plain HTTP' });

const NewHost = Type.Object(
  {
    name: HostName,
    tags: Type.Optional(Tags),
    ...{ url: Url, token: Token },
    ca: Type.Optional(Ca),
    pin: Type.Optional(Pin),
    proxy: Type.Optional(ProxyUrl),
    insecureHttp: Type.Optional(InsecureHttp),
  },
  { additionalProperties: false },
);

const Change = Type.Object(
  {
    url: Type.Optional(Url),
    token: Type.Optional(Token),
    ca: Type.Optional(nullable(Ca)),
    pin: Type.Optional(nullable(Pin)),
    proxy: Type.Optional(nullable(ProxyUrl)),
    insecureHttp: Type.Optional(InsecureHttp),
  },
  { additionalProperties: false, minProperties: 1 },
);

export const HawserHostView = Type.Object({
  host: Type.Object({ id: Text, name: Text }),
  url: Text,
  ca: nullable(Text),
  pin: nullable(Text),
  proxy: Type.Union([Text, Type.Null()], { description: 'Without user and password' }),
  insecureHttp: Type.Boolean(),
  online: Type.Boolean(),
  checkedAt: nullable(Instant),
  error: Type.Union([Text, Type.Null()], { description: 'What keeps the server from it' }),
  changedBy: Text,
  changedAt: Instant,
});
export type HawserHostView = Static<typeof HawserHostView>;

export function hawserHostRoutes(api: Api, { deps }: RouteContext): void {
  const { hosts } = deps.hawser;
  const config = { access: 'admin', scope: 'installation' } as const;
  const tags = ['hawser'];

  api.post(
    PATH,
    {
      config,
      schema: {
        ...{ tags, summary: 'Makes a host of an agent of Hawser that listens, and dials it' },
        body: NewHost,
        response: { 201: HawserHostView },
      },
    },
    async (request, reply) => reply.code(201).send(viewOf(await hosts.add(request.body, actorOf(request)))),
  );

  api.get(
    PATH,
    {
      config,
      schema: {
        ...{ tags, summary: 'Lists the hosts whose agents of Hawser the server dials, without their tokens' },
        querystring: PageQuery,
        response: { 200: pageOf(HawserHostView) },
      },
    },
    async ({ query }) => pageView(await hosts.list(pageRequest(query)), viewOf),
  );

  api.get(
    `${PATH}/:host`,
    {
      config,
      schema: {
        ...{ tags, summary: 'Shows how the server dials a host, and how that goes' },
        params: HostParams,
        response: { 200: HawserHostView },
      },
    },
    async ({ params }) => viewOf(await hosts.get(params.host)),
  );

  api.patch(
    `${PATH}/:host`,
    {
      config,
      schema: {
        ...{ tags, summary: 'Changes how the server dials a host, and dials it anew' },
        description: 'null takes something away. Another address needs its token.',
        params: HostParams,
        body: Change,
        response: { 200: HawserHostView },
      },
    },
    async (request) => viewOf(await hosts.change(request.params.host, request.body, actorOf(request))),
  );
}

function viewOf(row: HawserHostRecord): HawserHostView {
  const { hostId, hostName, url, ca, pin, proxy, insecureHttp, isOnline, checkedAt, error } = row;
  return {
    host: { id: hostId, name: hostName },
    ...{ url, ca: ca ?? null, pin: pin ?? null, proxy: proxy ?? null, insecureHttp },
    ...{ online: isOnline, checkedAt: instantOrNull(checkedAt), error: error ?? null },
    ...{ changedBy: row.changedBy, changedAt: instant(row.changedAt) },
  };
}
