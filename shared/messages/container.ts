/** Kinds that act on containers. Codes 0x0300 to 0x03ff. Docker's own objects pass in Docker's own words. */
import Type, { type TProperties } from 'typebox';
import { changeKind, DockerObject, Filters, listKind, ObjectRef, Reclaimed, Removed, readKind } from './family.ts';
import type { StreamKind } from './kind.ts';

export { DockerObject } from './family.ts';

const closed = { additionalProperties: false };
/** A container's id or name, as Docker takes it. */
export const ContainerRef = ObjectRef;
/** Unix seconds with up to nine decimals, or RFC 3339, or a duration such as `10m`: what Docker takes for since and until. */
export const DockerTime = Type.String({ minLength: 1, maxLength: 64, pattern: '^[0-9A-Za-z:.+-]+$' });
const timeoutSeconds = Type.Optional(Type.Integer({ minimum: -1, maximum: 3600 }));
const signal = Type.Optional(Type.String({ minLength: 1, maxLength: 16, pattern: '^[A-Z0-9+]+$' }));
const cell = Type.Integer({ minimum: 1, maximum: 4096 });

function read<const N extends string, P extends TProperties>(code: number, name: N, params: P) {
  return readKind(code, name, { id: ContainerRef, ...params });
}

function change<const N extends string, P extends TProperties>(code: number, name: N, params: P) {
  return changeKind(code, name, { id: ContainerRef, ...params });
}

export const containerList = listKind(0x0300, 'container.list', { all: Type.Optional(Type.Boolean()) });
export const containerInspect = read(0x0301, 'container.inspect', {});

export const containerStart = change(0x0302, 'container.start', {});
export const containerStop = change(0x0303, 'container.stop', { timeoutSeconds });
export const containerRestart = change(0x0304, 'container.restart', { timeoutSeconds });
export const containerKill = change(0x0305, 'container.kill', { signal });
export const containerPause = change(0x0306, 'container.pause', {});
export const containerUnpause = change(0x0307, 'container.unpause', {});
export const containerRemove = change(0x0308, 'container.remove', {
  force: Type.Optional(Type.Boolean()),
  volumes: Type.Optional(Type.Boolean()),
});

export const containerTop = read(0x0309, 'container.top', {
  psArgs: Type.Optional(Type.String({ maxLength: 128, pattern: '^[A-Za-z0-9 ,=_-]*$' })),
});

/** One item per sample; with `stream` false one sample only. */
export const containerStats = {
  ...read(0x030a, 'container.stats', { stream: Type.Optional(Type.Boolean()) }),
  reply: Type.Object({}, closed),
  item: DockerObject,
} as const satisfies StreamKind;

/**
 * The bytes are Docker's own: with `tty` raw, else multiplexed with Docker's 8-byte headers. The rest of the reply is for
 * whoever opens it again after an interruption: which container it was, when it was started last, and the host's own time
 * before the log was opened.
 */
export const containerLogStream = {
  ...read(0x030b, 'container.log.stream', {
    follow: Type.Optional(Type.Boolean()),
    /** The last n lines; absent: all. */
    tail: Type.Optional(Type.Integer({ minimum: 0 })),
    since: Type.Optional(DockerTime),
    until: Type.Optional(DockerTime),
    timestamps: Type.Optional(Type.Boolean()),
    stdout: Type.Optional(Type.Boolean()),
    stderr: Type.Optional(Type.Boolean()),
  }),
  priority: 'bulk',
  reply: Type.Object(
    {
      tty: Type.Boolean(),
      id: Type.Optional(ContainerRef),
      startedAt: Type.Optional(DockerTime),
      openedAt: Type.Optional(DockerTime),
    },
    closed,
  ),
  bytes: 'acceptor',
} as const satisfies StreamKind;

export const TerminalSize = Type.Object({ cols: cell, rows: cell }, closed);

/** The opener's bytes are stdin, END its end; the acceptor's are as in container.log.stream; then the exit code. */
export const containerExecOpen = {
  code: 0x030c,
  name: 'container.exec.open',
  from: 'server',
  role: 'operator',
  policy: 'exec',
  priority: 'interactive',
  params: Type.Object(
    {
      id: ContainerRef,
      cmd: Type.Array(Type.String({ maxLength: 32_768 }), { minItems: 1, maxItems: 1024 }),
      tty: Type.Optional(Type.Boolean()),
      size: Type.Optional(TerminalSize),
      user: Type.Optional(Type.String({ maxLength: 255 })),
      workdir: Type.Optional(Type.String({ maxLength: 4096 })),
      env: Type.Optional(Type.Array(Type.String({ maxLength: 32_768 }), { maxItems: 1024 })),
      stdin: Type.Optional(Type.Boolean()),
    },
    closed,
  ),
  reply: Type.Object({ execId: Type.String(), tty: Type.Boolean() }, closed),
  signal: Type.Object({ resize: TerminalSize }, closed),
  trailer: Type.Object({ code: Type.Integer() }, closed),
  bytes: 'both',
} as const satisfies StreamKind;

/** `config` is Docker's own body for a new container. */
export const containerCreate = {
  ...changeKind(0x030d, 'container.create', {
    name: Type.Optional(ContainerRef),
    platform: Type.Optional(Type.String({ minLength: 1, maxLength: 64, pattern: '^[a-zA-Z0-9/._-]+$' })),
    config: DockerObject,
  }),
  reply: Type.Object({ id: Type.String(), warnings: Type.Array(Type.String()) }, closed),
} as const satisfies StreamKind;

export const containerRename = change(0x030e, 'container.rename', { name: ContainerRef });

/** Removes all that are stopped, of those that the filters let through. */
export const containerPrune = {
  ...changeKind(0x030f, 'container.prune', { filters: Type.Optional(Filters) }),
  reply: Type.Object({ ContainersDeleted: Removed, SpaceReclaimed: Reclaimed }, closed),
} as const satisfies StreamKind;
