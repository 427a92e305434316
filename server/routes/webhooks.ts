/** Webhooks: who gets events, and how it goes. */
import Type from 'typebox';
import { MAX_TAGS } from '../../shared/limits.ts';
import { Tags } from '../../shared/messages/control.ts';
import { actorOf } from './access.ts';
import type { Api } from './app-types.ts';
import type { RouteContext } from './context.ts';
import { EventType, MAX_FILTERS } from './events.ts';
import { HostRef, IdParams, Label, NoContent, PageQuery, pageOf, WebhookView } from './schemas.ts';
import { pageRequest, pageView, webhookView } from './views.ts';

const PATH = '/api/v1/webhooks';
const NewWebhook = Type.Object(
  {
    url: Type.String({ minLength: 1, maxLength: 2_048, description: 'https or http, without user and password' }),
    name: Type.Optional(Label),
    types: Type.Optional(
      Type.Array(EventType, {
        ...{ minItems: 1, maxItems: MAX_FILTERS },
        description: 'container.start, container (all of its family) or container.exec*; any of them',
      }),
    ),
    hosts: Type.Optional(Type.Array(HostRef, { minItems: 1, maxItems: MAX_FILTERS, description: 'Of these hosts' })),
    tags: Type.Optional(
      Type.Array(Tags.items, { minItems: 1, maxItems: MAX_TAGS, description: 'Of hosts that have any of these then' }),
    ),
  },
  { additionalProperties: false },
);
const Created = Type.Object({
  ...WebhookView.properties,
  secret: Type.String({ description: 'Keys the signature. Shown this once' }),
});

const DESCRIPTION =
  'Events are posted as `{webhook, events}` in JSON, in their order and from now on, each batch again until the answer is ' +
  '2xx: an event may come twice, and has its id. `fairlead-signature` is `v1=` and the HMAC-SHA256 in hex, keyed by the ' +
  'secret, over `fairlead-timestamp`, a dot and the body.';

export function webhookRoutes(api: Api, { deps }: RouteContext): void {
  const { webhooks, hosts } = deps;
  const config = { access: 'admin', scope: 'installation' } as const;
  const tags = ['webhooks'];

  api.post(
    PATH,
    {
      config,
      schema: {
        ...{ tags, summary: 'Makes a webhook', description: DESCRIPTION },
        body: NewWebhook,
        response: { 201: Created },
      },
    },
    async (request, reply) => {
      const { hosts: refs, ...rest } = request.body;
      const ids = refs && (await Promise.all(refs.map(async (ref) => (await hosts.get(ref)).id)));
      const wanted = { ...rest, ...(ids === undefined ? {} : { hosts: ids }) };
      const { webhook, secret } = await webhooks.create(wanted, actorOf(request));
      return reply.code(201).send({ ...webhookView(webhook), secret });
    },
  );

  api.get(
    PATH,
    {
      config,
      schema: {
        ...{ tags, summary: 'Lists webhooks, without their secrets' },
        querystring: PageQuery,
        response: { 200: pageOf(WebhookView) },
      },
    },
    async ({ query }) => pageView(await webhooks.list(pageRequest(query)), webhookView),
  );

  api.get(
    `${PATH}/:id`,
    {
      config,
      schema: { ...{ tags, summary: 'Shows a webhook' }, params: IdParams, response: { 200: WebhookView } },
    },
    async ({ params }) => webhookView(await webhooks.get(params.id)),
  );

  api.delete(
    `${PATH}/:id`,
    {
      config,
      schema: { ...{ tags, summary: 'Removes a webhook' }, params: IdParams, response: { 204: NoContent } },
    },
    async (request, reply) => {
      await webhooks.remove(request.params.id, actorOf(request));
      return reply.code(204).send(null);
    },
  );

  api.post(
    `${PATH}/:id/test`,
    {
      config,
      schema: {
        ...{
          tags,
          summary: 'Posts an event of type webhook.test, past those that wait, and says whether it was taken',
        },
        params: IdParams,
        response: { 204: NoContent },
      },
    },
    async (request, reply) => {
      await webhooks.test(request.params.id, actorOf(request));
      return reply.code(204).send(null);
    },
  );
}
