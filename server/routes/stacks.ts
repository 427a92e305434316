/** Stacks as they are: those of a host, one of them, its revisions and what changed between them. */

import type { FastifyRequest } from 'fastify';
import Type from 'typebox';
import { FairleadError } from '../../shared/errors.ts';
import type { HostLink } from '../hosts/host-link.ts';
import type { Api } from './app-types.ts';
import type { RouteContext } from './context.ts';
import { answerOfHosts, textOf } from './host-answer.ts';
import { withDeadline } from './host-lists.ts';
import { LIST_MS } from './limits.ts';
import { DEFAULT_PAGE_ITEMS, HostParams, PageQuery, pageOf } from './schemas.ts';
import {
  DiffParams,
  RevisionDetail,
  RevisionParams,
  RevisionView,
  revisionsView,
  revisionView,
  StackDetail,
  StackParams,
  StackView,
  servicesView,
  stackView,
} from './stack-schemas.ts';

const strict = { additionalProperties: false };
const PATH = '/api/v1/hosts/:host/stacks';
const NoQuery = Type.Object({}, strict);
const CURSOR = /^[a-z0-9][a-z0-9_-]{0,254}$/;

export function stackRoutes(api: Api, context: RouteContext): void {
  listRoute(api, context);
  statusRoute(api, context);
  revisionRoutes(api, context);
  diffRoute(api, context);
}

/** All stacks of a host by name: those that it has containers of, and those that were deployed there. */
export async function stacksOf(
  { stacks }: Pick<RouteContext['deps'], 'stacks'>,
  link: HostLink,
  signal: AbortSignal,
): Promise<StackView[]> {
  const onHost = new Map((await stacks.onHost(link, signal)).map((one) => [one.stack, one]));
  const ours = Map.groupBy(await stacks.revisions.latest(link.hostId), ({ stack }) => stack);
  const names = [...new Set([...onHost.keys(), ...ours.keys()])].sort();
  return names.map((name) => stackView(name, onHost.get(name), ours.get(name) ?? []));
}

function listRoute(api: Api, context: RouteContext): void {
  const { deps, links } = context;
  api.get(
    PATH,
    {
      config: { access: 'viewer', scope: 'host' },
      schema: {
        tags: ['stacks'],
        summary: "Lists a host's stacks by name, those that others have deployed, too",
        params: HostParams,
        querystring: PageQuery,
        response: { 200: pageOf(StackView) },
      },
    },
    async (request, reply) => {
      const { limit = DEFAULT_PAGE_ITEMS, cursor } = request.query;
      if (cursor !== undefined && !CURSOR.test(cursor)) {
        throw new FairleadError('VALIDATION', 'cursor is not valid: use the nextCursor of the page before');
      }
      return await answerOfHosts(context, request, reply, async (held, signal) => {
        const link = await links.to(request, request.params.host);
        const all = await withDeadline(deps.clock, LIST_MS, signal, (ending) => stacksOf(deps, link, ending));
        const rest = all.filter(({ name }) => name > (cursor ?? ''));
        const page = rest.slice(0, limit);
        const nextCursor = rest.length > limit ? (page.at(-1)?.name ?? null) : null;
        return [textOf(held, link.hostId, { items: page, nextCursor })];
      });
    },
  );
}

function statusRoute(api: Api, context: RouteContext): void {
  const { deps, links } = context;
  api.get(
    `${PATH}/:stack`,
    {
      config: { access: 'viewer', scope: 'host' },
      schema: {
        tags: ['stacks'],
        summary: 'Says what runs of a stack, and what was deployed',
        params: StackParams,
        querystring: NoQuery,
        response: { 200: StackDetail },
      },
    },
    async (request, reply) => {
      const { host, stack } = request.params;
      return await answerOfHosts(context, request, reply, async (held, signal) => {
        const link = await links.to(request, host);
        const { containers, change } = await withDeadline(deps.clock, LIST_MS, signal, (ending) =>
          deps.stacks.status({ link, stack }, ending),
        );
        const records = (await deps.stacks.revisions.latest(link.hostId)).filter((one) => one.stack === stack);
        if (containers.length === 0 && records.length === 0) {
          throw new FairleadError('NOT_FOUND', `there is no stack ${stack} on this host`);
        }
        const running = containers.filter(({ State }) => State === 'running').length;
        const counts = { containers: containers.length, running, services: servicesView(containers) };
        const view = { name: stack, ...counts, ...revisionsView(records), change: change ?? null, items: containers };
        return [textOf(held, link.hostId, view)];
      });
    },
  );
}

/** The key of the stack in a request's path; its host need not be connected. @throws FairleadError HOST_NOT_FOUND */
async function keyOf(
  { deps }: RouteContext,
  { params: { host, stack } }: { readonly params: { host: string; stack: string } } & Pick<FastifyRequest, 'id'>,
): Promise<{ hostId: string; stack: string }> {
  return { hostId: (await deps.hosts.get(host)).id, stack };
}

function revisionRoutes(api: Api, context: RouteContext): void {
  const { revisions } = context.deps.stacks;
  api.get(
    `${PATH}/:stack/revisions`,
    {
      config: { access: 'viewer', scope: 'host' },
      schema: {
        tags: ['stacks'],
        summary: 'Lists what was deployed as a stack, newest first',
        params: StackParams,
        querystring: PageQuery,
        response: { 200: pageOf(RevisionView) },
      },
    },
    async (request) => {
      const { limit = DEFAULT_PAGE_ITEMS, cursor } = request.query;
      const page = { limit, ...(cursor === undefined ? {} : { cursor }) };
      const { items, nextCursor } = await revisions.list(await keyOf(context, request), page);
      return { items: items.map(revisionView), nextCursor: nextCursor ?? null };
    },
  );

  api.get(
    `${PATH}/:stack/revisions/:revision`,
    {
      config: { access: 'viewer', scope: 'host' },
      schema: {
        tags: ['stacks'],
        summary: 'Shows a revision, its Compose file, and the names of its variables',
        params: RevisionParams,
        querystring: NoQuery,
        response: { 200: RevisionDetail },
      },
    },
    async (request) => {
      const found = await revisions.find(await keyOf(context, request), request.params.revision);
      return { ...revisionView(found), compose: found.compose };
    },
  );
}

function diffRoute(api: Api, context: RouteContext): void {
  api.get(
    `${PATH}/:stack/revisions/:from/diff/:to`,
    {
      config: { access: 'viewer', scope: 'host' },
      schema: {
        tags: ['stacks'],
        summary: 'Says what changed from one revision to another, as a unified diff',
        description: 'Of variables it says which have changed, and never to what.',
        params: DiffParams,
        querystring: NoQuery,
        produces: ['text/plain'],
      },
    },
    async (request, reply) => {
      const { from, to } = request.params;
      const text = await context.deps.stacks.revisions.diff(await keyOf(context, request), from, to);
      return reply.header('content-type', 'text/plain; charset=utf-8').send(text);
    },
  );
}
