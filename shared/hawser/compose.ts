/** What Hawser's Compose endpoint is asked and answers, in both of its modes: additions of newer versions are optional. */
import Type, { type Static, type TSchema } from 'typebox';

export const COMPOSE_PATH = '/_hawser/compose';

const open = { additionalProperties: true };
const text = (max: number) => Type.String({ maxLength: max });
/** Go writes a list or a map that it does not have as null. */
const orNull = <const S extends TSchema>(schema: S) => Type.Optional(Type.Union([schema, Type.Null()]));
const flag = orNull(Type.Boolean());
const names = orNull(Type.Array(text(255), { maxItems: 256 }));
const texts = Type.Record(Type.String(), Type.String());

/** The operations that every version has. */
export const COMPOSE_OPERATIONS = ['up', 'down', 'pull', 'ps', 'logs', 'restart', 'stop', 'start'] as const;
export type ComposeOperation = (typeof COMPOSE_OPERATIONS)[number];

export const ComposeRequest = Type.Object(
  {
    /** One of `COMPOSE_OPERATIONS`; any other is answered as unsupported. */
    operation: text(64),
    projectName: text(255),
    workDir: orNull(text(4096)),
    /** The file itself. */
    composeFile: orNull(Type.String()),
    services: names,
    options: orNull(Type.Object({ tail: orNull(Type.Union([text(16), Type.Integer()])) }, open)),
    envVars: orNull(texts),
    /** From 0.2.15 on: path to content. */
    files: orNull(texts),
    registries: orNull(
      Type.Array(
        Type.Object({ url: text(1024), username: text(1024), password: Type.String({ maxLength: 16_384 }) }, open),
        { maxItems: 64 },
      ),
    ),
    composeFileName: orNull(text(4096)),
    composeFileNames: names,
    forceRecreate: flag,
    removeVolumes: flag,
    /** This one alone, without what it depends on. */
    serviceName: orNull(text(255)),
    build: flag,
    noBuildCache: flag,
    pullPolicy: orNull(text(64)),
    /** In Edge mode: a `stream` message for each line, before the response. */
    streamOutput: flag,
  },
  open,
);
export type ComposeRequest = Static<typeof ComposeRequest>;

/** With status 200 if it succeeded, and 500 if not. */
export const ComposeReply = Type.Object(
  {
    success: Type.Boolean(),
    output: Type.String(),
    error: Type.Optional(Type.String()),
    /** -1: it was broken off. */
    exitCode: Type.Integer(),
  },
  open,
);
export type ComposeReply = Static<typeof ComposeReply>;
