/** The audit log: rows that fit, a check of all of it, and all of it to take away. */
import Type, { type Static } from 'typebox';
import { isFault } from '../../shared/audit-chain.ts';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import { principalOf } from './access.ts';
import type { Api } from './app-types.ts';
import type { RouteContext } from './context.ts';
import type { AuditQuery } from './deps/audit.ts';
import type { HostsService } from './deps/hosts.ts';
import { timeOf } from './instants.ts';
import { AUDIT_READS } from './limits.ts';
import { clientGone } from './live-streams.ts';
import { AuditRow, HostRef, PAGE_QUERY, pageOf } from './schemas.ts';
import { Slots } from './slots.ts';
import { NDJSON, paced, sendBody } from './stream-body.ts';
import { auditView, instant, pageRequest, pageView } from './views.ts';

const text = (description: string) => Type.Optional(Type.String({ minLength: 1, maxLength: 256, description }));
const time = (description: string) => Type.Optional(Type.String({ minLength: 1, maxLength: 40, description }));

const Query = Type.Object(
  {
    ...PAGE_QUERY,
    actor: text('Whose doings'),
    address: text('From which network address'),
    action: text('What the action is or begins with: host.revoke, or container.'),
    target: text('To what: an id, or what is inside of one, as HOST and HOST/CONTAINER'),
    host: Type.Optional({ ...HostRef, description: 'To which host, by its id or by its name' }),
    result: Type.Optional(AuditRow.properties.result),
    since: time('RFC 3339: at this time or later'),
    until: time('RFC 3339: before this time'),
  },
  { additionalProperties: false },
);

const Head = Type.Object({ id: Type.Integer(), hash: Type.String(), count: Type.Integer() });
const Verdict = Type.Object({
  ok: Type.Boolean(),
  fault: Type.Union([
    Type.Object({ kind: Type.String(), row: Type.Integer(), detail: Type.String() }, { description: 'The first one' }),
    Type.Null(),
  ]),
  rows: Type.Union([Type.Integer(), Type.Null()]),
  head: Type.Union([Head, Type.Null()], { description: 'The last row; to be kept elsewhere and compared later' }),
  anchor: Type.Union([Head, Type.Null()], { description: 'The last row that was dropped by age' }),
  signed: Type.Union([Type.Object({ row: Type.Integer(), at: Type.String(), signer: Type.String() }), Type.Null()]),
  reports: Type.Array(Type.Integer(), { description: 'Rows by which the server said that its log had been changed' }),
});

export function auditRoutes(api: Api, context: RouteContext): void {
  listRoute(api, context);
  // Reading all of the log is work for the store: one at a time checks, a few take it away.
  const reads = new Slots('checks and exports of the audit log', AUDIT_READS);
  verifyRoute(api, context, reads);
  exportRoute(api, context, reads);
}

function listRoute(api: Api, { deps }: RouteContext): void {
  api.get(
    '/api/v1/audit',
    {
      config: { access: 'admin', scope: 'installation' },
      schema: {
        tags: ['audit'],
        summary: 'Lists what was done, by whom and with what result, newest first',
        querystring: Query,
        response: { 200: pageOf(AuditRow) },
      },
    },
    async ({ query }) => {
      const filter = await filterOf(query, deps.hosts);
      return pageView(await deps.audit.list(pageRequest(query), filter), auditView);
    },
  );
}

function verifyRoute(api: Api, { deps }: RouteContext, reads: Slots): void {
  api.get(
    '/api/v1/audit/verify',
    {
      config: { access: 'admin', scope: 'installation' },
      schema: {
        tags: ['audit'],
        summary: 'Checks the hash chain and the signatures of the whole audit log',
        description:
          "This is the server's own word. Whoever does not take it exports the log and checks it with " +
          '`fairlead audit --verify`, against a copy of the CA.',
        response: { 200: Verdict },
      },
    },
    async () => {
      const release = reads.take('verify');
      try {
        return verdictView(await deps.auditTrail.verify());
      } finally {
        release();
      }
    },
  );
}

function exportRoute(api: Api, { deps, live }: RouteContext, reads: Slots): void {
  api.get(
    '/api/v1/audit/export',
    {
      config: { access: 'admin', scope: 'installation' },
      schema: {
        tags: ['audit'],
        summary: 'Sends the whole audit log with its hashes and signatures',
        description:
          'NDJSON: `{type: "header"}`, then `{type: "row"}` and `{type: "checkpoint"}` from the oldest on, then ' +
          '`{type: "end"}`, without which it is not whole.',
        produces: [NDJSON],
      },
    },
    async (request, reply) => {
      const held = live.beginFor(reply.raw, principalOf(request));
      let release: (() => void) | undefined;
      try {
        release = reads.take('export');
        const { auditTrail, clock } = deps;
        const chunks = paced(auditTrail.export(), held, clock);
        await sendBody(request, reply, { contentType: NDJSON, chunks, live: held, clock });
      } finally {
        held.end(clientGone());
        held.release();
        release?.();
      }
      return reply;
    },
  );
}

async function filterOf(query: Static<typeof Query>, hosts: Pick<HostsService, 'get'>): Promise<AuditQuery> {
  const { actor, address, action, target, host, result, since, until } = query;
  if (target !== undefined && host !== undefined) {
    throw new FairleadError('VALIDATION', 'target and host are two ways to say the same: give one of them');
  }
  const targets = host === undefined ? target && [target] : await namesOf(host, hosts);
  return {
    ...(actor === undefined ? {} : { actor }),
    ...(address === undefined ? {} : { address }),
    ...(action === undefined ? {} : { action }),
    ...(targets ? { targets } : {}),
    ...(result === undefined ? {} : { result }),
    ...(since === undefined ? {} : { since: timeOf('since', since) }),
    ...(until === undefined ? {} : { until: timeOf('until', until) }),
  };
}

/** Under what a host stands in the log: rows of requests name it as their caller did. One that is gone has its own name only. */
async function namesOf(ref: string, hosts: Pick<HostsService, 'get'>): Promise<string[]> {
  try {
    const { id, name } = await hosts.get(ref);
    return [...new Set([ref, id, name])];
  } catch (error) {
    if (isFairleadError(error, 'HOST_NOT_FOUND')) return [ref];
    throw error;
  }
}

function verdictView(end: Awaited<ReturnType<RouteContext['deps']['auditTrail']['verify']>>): Static<typeof Verdict> {
  if (isFault(end)) {
    const fault = { kind: end.kind, row: end.id, detail: end.message };
    return { ok: false, fault, rows: null, head: null, anchor: null, signed: null, reports: [] };
  }
  const { rows, head, anchor, signed, reports } = end;
  return {
    ok: true,
    fault: null,
    rows,
    head: { ...head },
    anchor: anchor === undefined ? null : { ...anchor },
    signed: { row: signed.id, at: instant(signed.at), signer: signed.signer },
    reports: [...reports],
  };
}
