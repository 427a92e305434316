/** Kinds that act on stacks: what a Compose file describes, on one host. Codes 0x0900 to 0x09ff. */
import Type, { type Static, type TProperties } from 'typebox';
import { MAX_SERVICES } from '../compose/limits.ts';
import { ContainerRef, DockerTime } from './container.ts';
import { DockerObject } from './family.ts';
import type { StreamKind } from './kind.ts';

const closed = { additionalProperties: false };
const count = Type.Integer({ minimum: 0 });

/** As Compose takes the name of a project. */
export const StackName = Type.String({ minLength: 1, maxLength: 63, pattern: '^[a-z0-9][a-z0-9_-]*$' });
/** As Compose takes the name of a service, but for a first character that could make it an option. */
export const ServiceName = Type.String({ minLength: 1, maxLength: 128, pattern: '^[A-Za-z0-9_][A-Za-z0-9._-]*$' });

/** The largest Compose file, in UTF-16 units. */
export const MAX_COMPOSE_CHARS = 128 * 1024;
export const ComposeText = Type.String({ minLength: 1, maxLength: MAX_COMPOSE_CHARS });
/** What variables in the file stand for. */
export const StackEnv = Type.Record(
  Type.String({ minLength: 1, maxLength: 128, pattern: '^[A-Za-z_][A-Za-z0-9_]*$' }),
  Type.String({ maxLength: 32 * 1024 }),
  // Without it, names that do not fit would be let through.
  { maxProperties: 256, additionalProperties: false },
);
export type StackEnv = Static<typeof StackEnv>;

/** How long Compose may take for one change, in seconds, and how long it gets unless the caller says otherwise. */
export const MAX_STACK_SECONDS = 2 * 3600;
export const STACK_SECONDS = 30 * 60;
export const StackSeconds = Type.Integer({ minimum: 1, maximum: MAX_STACK_SECONDS });

export const MAX_PROGRESS_CHARS = 4096;
/** A line that Compose printed, and during which of its steps. */
export const StackProgress = Type.Object(
  {
    step: Type.String({ maxLength: 16 }),
    line: Type.String({ maxLength: MAX_PROGRESS_CHARS }),
  },
  closed,
);
export type StackProgress = Static<typeof StackProgress>;

/** What a stack is made of. */
const content = { compose: ComposeText, env: Type.Optional(StackEnv) };

function change<const N extends string, P extends TProperties>(code: number, name: N, params: P) {
  return {
    code,
    name,
    from: 'server',
    role: 'operator',
    policy: 'change',
    priority: 'interactive',
    params: Type.Object(
      {
        stack: StackName,
        /** Names the change, so that its end can be asked for when the session was lost meanwhile. */
        changeId: Type.String({ minLength: 1, maxLength: 64, pattern: '^[A-Za-z0-9-]+$' }),
        timeoutSeconds: Type.Optional(StackSeconds),
        ...params,
      },
      closed,
    ),
    /** Comes once the host has found nothing against the change; nothing has been touched then. */
    reply: Type.Object({ compose: Type.String({ maxLength: 64 }) }, closed),
    item: StackProgress,
    trailer: Type.Object({}, closed),
    bytes: 'none',
  } as const satisfies StreamKind;
}

/** One item per stack, of whoever made it. */
export const stackList = {
  code: 0x0900,
  name: 'stack.list',
  from: 'server',
  role: 'viewer',
  policy: 'read',
  priority: 'interactive',
  compressible: true,
  params: Type.Object({}, closed),
  reply: Type.Object({ count }, closed),
  item: Type.Object(
    {
      stack: Type.String({ maxLength: 255 }),
      services: Type.Array(Type.String({ maxLength: 255 }), { maxItems: 1000 }),
      containers: count,
      running: count,
    },
    closed,
  ),
  bytes: 'none',
} as const satisfies StreamKind;

/** What there is to be of a stack: of each service so many containers, running or only made, and nothing of the others. */
export const StackState = Type.Record(
  ServiceName,
  Type.Object({ containers: Type.Integer({ minimum: 1, maximum: 1000 }), runs: Type.Boolean() }, closed),
  { maxProperties: MAX_SERVICES, additionalProperties: false },
);
export type StackState = Static<typeof StackState>;

export const stackDeploy = change(0x0901, 'stack.deploy', {
  ...content,
  pull: Type.Optional(Type.Boolean()),
  /** Removes containers of services that are no longer in the file. */
  prune: Type.Optional(Type.Boolean()),
  /** Absent: all services run, as the file has it. */
  state: Type.Optional(StackState),
});

/** The file, where there is one: Compose 1 cannot do without. */
const optional = { compose: Type.Optional(ComposeText), env: Type.Optional(StackEnv) };

export const stackRemove = change(0x0902, 'stack.remove', { ...optional, volumes: Type.Optional(Type.Boolean()) });
export const stackStart = change(0x0903, 'stack.start', optional);
export const stackStop = change(0x0904, 'stack.stop', optional);
export const stackRestart = change(0x0905, 'stack.restart', optional);
export const stackPull = change(0x0906, 'stack.pull', content);

/** A line of a container's log. */
export const StackLogLine = Type.Object(
  {
    service: Type.String({ maxLength: 255 }),
    container: Type.String({ maxLength: 255 }),
    /** The container's id: its name may be another one's later. */
    id: Type.String({ maxLength: 64 }),
    stream: Type.Union([Type.Literal('stdout'), Type.Literal('stderr')]),
    /** As Docker wrote it. */
    time: Type.Optional(Type.String({ maxLength: 64 })),
    line: Type.String(),
    /** The line goes on in the next one of its container and stream. */
    partial: Type.Optional(Type.Literal(true)),
  },
  closed,
);
export type StackLogLine = Static<typeof StackLogLine>;

/** Lines that are sent together: few enough for an item. */
export const MAX_LOG_LINES = 250;

/** Containers of which whoever goes on with a stack's logs says how far they were read: as many as a URL has room for. */
export const MAX_READ_CONTAINERS = 120;

/** From where the log of one container, which was read up to there, is read on. */
export const ReadContainer = Type.Object({ id: ContainerRef, since: DockerTime }, closed);
export type ReadContainer = Static<typeof ReadContainer>;

/** Each item is some lines, of all containers of the stack, as they come. */
export const stackLogs = {
  code: 0x0907,
  name: 'stack.logs',
  from: 'server',
  role: 'viewer',
  policy: 'read',
  priority: 'bulk',
  compressible: true,
  params: Type.Object(
    {
      stack: StackName,
      services: Type.Optional(Type.Array(ServiceName, { maxItems: 64 })),
      /** With containers that come later. */
      follow: Type.Optional(Type.Boolean()),
      /** The last n lines of each container; absent: all. */
      tail: Type.Optional(Type.Integer({ minimum: 0 })),
      since: Type.Optional(DockerTime),
      until: Type.Optional(DockerTime),
      /** Of these containers what was said since the time of each, in place of `tail` and `since`. */
      read: Type.Optional(Type.Array(ReadContainer, { maxItems: MAX_READ_CONTAINERS })),
    },
    closed,
  ),
  /** `openedAt`: the host's time before the logs were opened. */
  reply: Type.Object({ containers: count, openedAt: DockerTime }, closed),
  item: Type.Array(StackLogLine, { maxItems: MAX_LOG_LINES }),
  bytes: 'none',
} as const satisfies StreamKind;

/** The last change of a stack that this agent has made, as far as it remembers. */
export const StackChange = Type.Object(
  {
    id: Type.String({ maxLength: 64 }),
    kind: Type.String({ maxLength: 64 }),
    state: Type.Union([Type.Literal('running'), Type.Literal('done'), Type.Literal('failed')]),
    code: Type.Optional(Type.String({ maxLength: 64 })),
    message: Type.Optional(Type.String({ maxLength: 4096 })),
  },
  closed,
);
export type StackChange = Static<typeof StackChange>;

/** One item per container, in Docker's own words. */
export const stackStatus = {
  code: 0x0908,
  name: 'stack.status',
  from: 'server',
  role: 'viewer',
  policy: 'read',
  priority: 'interactive',
  compressible: true,
  params: Type.Object({ stack: StackName }, closed),
  reply: Type.Object({ count, change: Type.Optional(StackChange) }, closed),
  item: DockerObject,
  bytes: 'none',
} as const satisfies StreamKind;

/** How many containers each service is to have. */
export const Scale = Type.Record(ServiceName, Type.Integer({ minimum: 0, maximum: 1000 }), {
  minProperties: 1,
  maxProperties: MAX_SERVICES,
  additionalProperties: false,
});

export const stackScale = change(0x0909, 'stack.scale', { ...content, services: Scale });
