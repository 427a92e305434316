/** Kinds that carry what goes into a container and comes out of it: its own process, commands, files. Codes 0x0310 to 0x0313. */
import Type from 'typebox';
import { ContainerRef, containerExecOpen, TerminalSize } from './container.ts';
import type { StreamKind } from './kind.ts';

const closed = { additionalProperties: false };
const { cmd, user, workdir, env } = containerExecOpen.params.properties;
/** The most that a command's standard input may be, and each of its two outputs, in bytes. */
export const MAX_RUN_BYTES = 1024 * 1024;
/** The longest that a command may run. */
export const MAX_RUN_MS = 600_000;
/** A path in a container. */
export const ContainerPath = Type.String({ minLength: 1, maxLength: 4096, pattern: '^[^\\x00]+$' });
/** What Docker says of a file in a header: JSON, in base64. */
const Stat = Type.String({ maxLength: 32_768, pattern: '^[A-Za-z0-9+/=_-]*$' });
const base64 = Type.String({ maxLength: Math.ceil(MAX_RUN_BYTES / 3) * 4 });

const inside = { from: 'server', role: 'operator', policy: 'exec' } as const;

/**
 * Runs a command to its end. The opener's bytes are its standard input, where `stdin` is true; the reply says that it has
 * begun. What goes beyond `maxOutputBytes` of an output is dropped, and `truncated` true then. After `timeoutMs` it is ended.
 */
export const containerExecRun = {
  ...inside,
  code: 0x0310,
  name: 'container.exec.run',
  priority: 'interactive',
  params: Type.Object(
    {
      id: ContainerRef,
      ...{ cmd, user, workdir, env },
      stdin: Type.Optional(Type.Boolean()),
      timeoutMs: Type.Integer({ minimum: 1, maximum: MAX_RUN_MS }),
      maxOutputBytes: Type.Integer({ minimum: 0, maximum: MAX_RUN_BYTES }),
    },
    closed,
  ),
  reply: Type.Object({ execId: Type.String() }, closed),
  trailer: Type.Object({ exitCode: Type.Integer(), stdout: base64, stderr: base64, truncated: Type.Boolean() }, closed),
  bytes: 'opener',
} as const satisfies StreamKind;

/**
 * The container's own process: bytes as in container.exec.open. Whoever leaves leaves it running. The trailer has its exit
 * code, unless Docker has let go of a process that runs on: by the keys for that, typed into a terminal.
 */
export const containerAttach = {
  ...inside,
  code: 0x0311,
  name: 'container.attach',
  priority: 'interactive',
  params: Type.Object(
    {
      id: ContainerRef,
      size: Type.Optional(TerminalSize),
      stdin: Type.Optional(Type.Boolean()),
      /** With all that it has said before. */
      logs: Type.Optional(Type.Boolean()),
    },
    closed,
  ),
  reply: Type.Object({ tty: Type.Boolean() }, closed),
  signal: Type.Object({ resize: TerminalSize }, closed),
  trailer: Type.Object({ code: Type.Optional(Type.Integer()) }, closed),
  bytes: 'both',
} as const satisfies StreamKind;

/** The acceptor's bytes are a tar of what is at the path; with `statOnly` there are none. */
export const containerArchiveGet = {
  ...inside,
  code: 0x0312,
  name: 'container.archive.get',
  priority: 'bulk',
  compressible: true,
  params: Type.Object({ id: ContainerRef, path: ContainerPath, statOnly: Type.Optional(Type.Boolean()) }, closed),
  reply: Type.Object({ stat: Stat }, closed),
  bytes: 'acceptor',
} as const satisfies StreamKind;

/** The opener's bytes are a tar, plain or packed, unpacked in the directory at the path; the reply comes when that is done. */
export const containerArchivePut = {
  ...inside,
  policy: 'change',
  code: 0x0313,
  name: 'container.archive.put',
  priority: 'bulk',
  compressible: true,
  params: Type.Object(
    {
      id: ContainerRef,
      path: ContainerPath,
      /** Not a directory in the place of something else, nor the other way. */
      noOverwriteDirNonDir: Type.Optional(Type.Boolean()),
      /** With the owners that the tar has. */
      copyUidGid: Type.Optional(Type.Boolean()),
    },
    closed,
  ),
  reply: Type.Object({}, closed),
  bytes: 'opener',
} as const satisfies StreamKind;
