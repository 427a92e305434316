/** Which release of the agent a host is to run: wished, looked at, and taken back. */
import Type, { type Static } from 'typebox';
import { Release } from '../../shared/releases/release.ts';
import { actorOf } from './access.ts';
import type { Api } from './app-types.ts';
import { audited } from './audited.ts';
import type { RouteContext } from './context.ts';
import { HostParams, HostUpgradeView, NoContent, Text, UpgradeState } from './schemas.ts';
import { hostUpgradeView } from './views.ts';

const PATH = '/api/v1/hosts/:host/upgrade';

/** Which release is meant: the newest one that is ready, unless it is said. */
export const RELEASE_CHOICE = {
  version: Type.Optional(Release.properties.version),
  sequence: Type.Optional(Release.properties.sequence),
};
const WishBody = Type.Union([Type.Object(RELEASE_CHOICE, { additionalProperties: false }), Type.Null()]);

export const WishView = Type.Object({
  host: Type.Object({ id: Text, name: Text }),
  ...{ from: Text, to: Text, sequence: Type.Integer() },
  state: Type.Union([UpgradeState, Type.Literal('current')], { description: 'current: it runs that version already' }),
});
export type WishView = Static<typeof WishView>;

export function hostUpgradeRoutes(api: Api, { deps }: RouteContext): void {
  const tags = ['agents'];

  api.post(
    PATH,
    {
      config: { access: 'admin', scope: 'host' },
      schema: {
        ...{ tags, summary: "Wishes that a host's agent replace itself by a release" },
        description:
          'It is offered at once, or when the host comes. The agent checks it by keys of its own, tries it, and goes back to ' +
          'what it was if that does not connect.',
        params: HostParams,
        body: WishBody,
        response: { 200: WishView, 202: WishView },
      },
    },
    async (request, reply) => {
      const { version, sequence } = request.body ?? {};
      const { host } = request.params;
      const what = { action: 'host.upgrade', target: host, detail: { to: version, sequence }, judge: () => undefined };
      const made = await audited(deps, request, what, async () => {
        const release = deps.releases.chosen({ version, sequence });
        return await deps.upgrades.wish(host, { release, by: actorOf(request) });
      });
      const { hostId: id, hostName: name, from, to, state } = made;
      const view = { host: { id, name }, from, to, sequence: made.sequence, state };
      return reply.code(state === 'current' ? 200 : 202).send(view);
    },
  );

  api.get(
    PATH,
    {
      config: { access: 'viewer', scope: 'host' },
      schema: {
        ...{ tags, summary: 'Shows which release a host is wished to run, and how far it is' },
        params: HostParams,
        response: { 200: HostUpgradeView },
      },
    },
    async ({ params }) => hostUpgradeView(await deps.hosts.get(params.host)),
  );

  api.delete(
    PATH,
    {
      config: { access: 'admin', scope: 'host' },
      schema: {
        ...{ tags, summary: 'Takes the wish back, unless the host is replacing its agent already' },
        params: HostParams,
        response: { 204: NoContent },
      },
    },
    async (request, reply) => {
      const { host } = request.params;
      const what = { action: 'host.upgrade.cancel', target: host, judge: () => undefined };
      await audited(deps, request, what, () => deps.upgrades.cancel(host, actorOf(request)));
      return reply.code(204).send(null);
    },
  );
}
