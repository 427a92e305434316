/** Schemas of stacks, and the forms in which they leave the API. */
import Type, { type Static } from 'typebox';
import { StackChange, StackName } from '../../shared/messages/stack.ts';
import type { StackOnHost, StackRevisionRecord } from './deps/stacks.ts';
import { DockerAnswer, HostRef, Instant, Text } from './schemas.ts';

const strict = { additionalProperties: false };
const nullable = <const S extends Type.TSchema>(schema: S) => Type.Union([schema, Type.Null()]);
const Count = Type.Integer({ minimum: 0 });

export const StackParams = Type.Object({ host: HostRef, stack: StackName }, strict);
const RevisionNumber = Type.Integer({ minimum: 1, maximum: 2 ** 31 - 1 });
export const RevisionParams = Type.Object({ ...StackParams.properties, revision: RevisionNumber }, strict);
export const DiffParams = Type.Object({ ...StackParams.properties, from: RevisionNumber, to: RevisionNumber }, strict);

export const RevisionView = Type.Object({
  revision: Type.Integer(),
  action: Type.Union([
    Type.Literal('deploy'),
    Type.Literal('redeploy'),
    Type.Literal('rollback'),
    Type.Literal('migrate'),
  ]),
  source: Type.Union([Type.Integer(), Type.Null()], {
    description: 'The revision that it repeats; after a migration that of the host it came from',
  }),
  state: Type.Union(
    [Type.Literal('deploying'), Type.Literal('deployed'), Type.Literal('failed'), Type.Literal('interrupted')],
    { description: 'interrupted: the host was lost before it said how it ended; its status settles that' },
  ),
  env: Type.Array(Text, { description: 'The names of its variables; their values are not shown' }),
  createdBy: Text,
  createdAt: Instant,
  finishedAt: nullable(Instant),
  code: Type.Union([Text, Type.Null()], { description: 'Why it failed' }),
  detail: nullable(Text),
});
export type RevisionView = Static<typeof RevisionView>;
export const RevisionDetail = Type.Object({ ...RevisionView.properties, compose: Text });

const Service = Type.Object({ service: Text, containers: Count, running: Count });
export const StackView = Type.Object({
  name: Text,
  managed: Type.Boolean({ description: 'false: it was deployed by others' }),
  services: Type.Array(Text),
  containers: Count,
  running: Count,
  revision: Type.Union([RevisionView, Type.Null()], { description: 'The current one' }),
  latest: Type.Union([RevisionView, Type.Null()], {
    description: 'The newest one, where that is not the current one: it failed, was interrupted, or goes on',
  }),
});
export type StackView = Static<typeof StackView>;

export const StackDetail = Type.Object({
  ...StackView.properties,
  services: Type.Array(Service),
  change: Type.Union([StackChange, Type.Null()], { description: 'The last change that the agent remembers' }),
  items: Type.Array(DockerAnswer, { description: "Its containers, as Docker's own objects" }),
});

const time = (value: number | string | Date) => new Date(value).toISOString();

export function revisionView(record: StackRevisionRecord): RevisionView {
  const { number, action, source, state, envNames, createdBy, createdAt, finishedAt, code, detail } = record;
  return {
    revision: number,
    ...{ action, state, createdBy },
    source: source ?? null,
    env: [...envNames],
    createdAt: time(createdAt),
    finishedAt: finishedAt === null || finishedAt === undefined ? null : time(finishedAt),
    code: code ?? null,
    detail: detail ?? null,
  };
}

/** @param records of one stack: its newest revision, and its newest deployed one */
export function revisionsView(
  records: readonly StackRevisionRecord[],
): Pick<StackView, 'managed' | 'revision' | 'latest'> {
  const sorted = records.toSorted((a, b) => b.number - a.number);
  const [newest] = sorted;
  const current = sorted.find(({ state }) => state === 'deployed');
  return {
    managed: newest !== undefined,
    revision: current === undefined ? null : revisionView(current),
    latest: newest === undefined || newest === current ? null : revisionView(newest),
  };
}

/** @param onHost undefined: it has no containers there */
export function stackView(
  name: string,
  onHost: StackOnHost | undefined,
  records: readonly StackRevisionRecord[],
): StackView {
  const { services = [], containers = 0, running = 0 } = onHost ?? {};
  return { name, services: [...services], containers, running, ...revisionsView(records) };
}

/** How many containers each service has, by Docker's own objects. */
export function servicesView(containers: readonly Record<string, unknown>[]): Static<typeof Service>[] {
  const label = ({ Labels }: Record<string, unknown>): string => {
    const name = 'com.docker.compose.service';
    const value = typeof Labels === 'object' && Labels !== null ? (Labels as Record<string, unknown>)[name] : undefined;
    return typeof value === 'string' ? value : '';
  };
  return [...Map.groupBy(containers, label)]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([service, all]) => ({
      service,
      containers: all.length,
      running: all.filter(({ State }) => State === 'running').length,
    }));
}
