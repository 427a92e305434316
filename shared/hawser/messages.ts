/**
 * The messages of Hawser's Edge mode: one JSON object per WebSocket text message, told apart by `type`. Fields that a schema
 * does not name are let through, since newer agents add some; what it names must have the right type.
 */
import Type, { type Static, type TSchema } from 'typebox';

/** The only version that was ever spoken. */
export const HAWSER_PROTOCOL = '1.0';
/** The largest hello: nobody is known before it. */
export const MAX_HELLO_BYTES = 16 * 1024;
/** The largest message of an agent: an answer that is not streamed comes in one. */
export const MAX_AGENT_MESSAGE_BYTES = 32 * 1024 * 1024;
/** The largest message to an agent: releases up to 0.2.48 end the connection for one of 16 MiB. */
export const MAX_SERVER_MESSAGE_BYTES = 15 * 1024 * 1024;
/** The deepest nesting of any message; those of a real agent have three levels. */
export const MAX_DEPTH = 16;

const MAX_ID_CHARS = 128;
const MAX_TEXT_CHARS = 4096;
const open = { additionalProperties: true };
const text = (max: number) => Type.String({ maxLength: max });
const count = Type.Number({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
const id = Type.String({ minLength: 1, maxLength: MAX_ID_CHARS });
/** Go writes a list or a map that it does not have as null. */
const orNull = <const S extends TSchema>(schema: S) => Type.Optional(Type.Union([schema, Type.Null()]));
/** Whether it is base64 is seen where it is decoded. */
const base64 = Type.String();
const cells = Type.Integer({ minimum: 0, maximum: 65_535 });
const texts = Type.Record(Type.String(), Type.String());

/** From the agent. The token is in plain text: nothing of this message may be logged. */
export const hello = Type.Object(
  {
    type: Type.Literal('hello'),
    /** The agent's; before 0.2.14 the protocol's, and then `protocol` is absent. */
    version: text(64),
    protocol: Type.Optional(text(16)),
    /** Random at each start of the agent, unless it is configured. */
    agentId: text(MAX_ID_CHARS),
    agentName: text(255),
    token: text(512),
    /** The token's SHA-256, in hex; newer agents say it as well. */
    tokenHash: Type.Optional(text(64)),
    /** `unknown` while Docker does not answer. */
    dockerVersion: Type.Optional(text(64)),
    hostname: Type.Optional(text(255)),
    capabilities: orNull(Type.Array(text(64), { maxItems: 64 })),
  },
  open,
);

/** To the agent, as the first message. One whose `environmentId` is no whole number breaks agents of Hawser; our own takes any. */
export const welcome = Type.Object(
  {
    type: Type.Literal('welcome'),
    environmentId: Type.Optional(Type.Union([Type.Integer(), text(MAX_ID_CHARS), Type.Null()])),
    message: Type.Optional(text(MAX_TEXT_CHARS)),
  },
  open,
);

/** From either end. Agents write and read `error`, dockhand `message`; of an exec, `requestId` is its id. */
export const error = Type.Object(
  {
    type: Type.Literal('error'),
    requestId: Type.Optional(text(MAX_ID_CHARS)),
    error: Type.Optional(Type.String()),
    message: Type.Optional(Type.String()),
    code: Type.Optional(text(64)),
    /** In seconds. */
    retryAfter: Type.Optional(count),
  },
  open,
);

/** To the agent. `body` goes to Docker byte for byte, as the JSON text that it is, unless `isBinary` says that it is base64. */
export const request = Type.Object(
  {
    type: Type.Literal('request'),
    requestId: id,
    method: Type.String({ maxLength: 16, pattern: '^[A-Z]+$' }),
    path: Type.String({ maxLength: 64 * 1024 }),
    headers: orNull(texts),
    body: Type.Optional(Type.Unknown()),
    streaming: Type.Optional(Type.Boolean()),
    isBinary: Type.Optional(Type.Boolean()),
  },
  open,
);

/** From the agent: Docker's whole answer to a request that is not streamed. */
export const response = Type.Object(
  {
    type: Type.Literal('response'),
    requestId: id,
    statusCode: Type.Integer({ minimum: 100, maximum: 599 }),
    headers: orNull(texts),
    body: Type.Optional(Type.String()),
    isBinary: Type.Optional(Type.Boolean()),
  },
  open,
);

/** From the agent: bytes of the answer to a streamed request, which has neither status nor headers. */
export const stream = Type.Object(
  { type: Type.Literal('stream'), requestId: id, data: base64, stream: Type.Optional(text(16)) },
  open,
);

/** From the agent: the end of a stream, whatever the reason. To the agent: it is to end it. */
export const streamEnd = Type.Object(
  { type: Type.Literal('stream_end'), requestId: id, reason: Type.Optional(text(MAX_TEXT_CHARS)) },
  open,
);

/** From the agent, every 30 s. Bytes, but for the usage: per cent of the whole host. */
export const metrics = Type.Object(
  {
    type: Type.Literal('metrics'),
    /** Seconds since 1970. */
    timestamp: count,
    metrics: Type.Object(
      {
        cpuUsage: Type.Number({ minimum: 0 }),
        cpuCores: count,
        memoryTotal: count,
        memoryUsed: count,
        memoryFree: Type.Optional(count),
        diskTotal: Type.Optional(count),
        diskUsed: Type.Optional(count),
        diskFree: Type.Optional(count),
        networkRxBytes: Type.Optional(count),
        networkTxBytes: Type.Optional(count),
        /** Seconds. */
        uptime: Type.Optional(count),
      },
      open,
    ),
  },
  open,
);

/** From the agent: an event of a container, without repeats after a reconnect. */
export const containerEvent = Type.Object(
  {
    type: Type.Literal('container_event'),
    event: Type.Object(
      {
        containerId: text(255),
        containerName: Type.Optional(text(255)),
        image: Type.Optional(text(1024)),
        action: text(255),
        actorAttributes: orNull(texts),
        /** RFC 3339 with up to nine digits of a second. */
        timestamp: text(64),
      },
      open,
    ),
  },
  open,
);

/** From either end; the agent's clock is in seconds, dockhand's in ms. A pong has its own sender's, not the ping's. */
export const ping = Type.Object({ type: Type.Literal('ping'), timestamp: Type.Optional(Type.Number()) }, open);
export const pong = Type.Object({ type: Type.Literal('pong'), timestamp: Type.Optional(Type.Number()) }, open);

/** To the agent: a process with a terminal. `cmd` is one word, not split. */
export const execStart = Type.Object(
  {
    type: Type.Literal('exec_start'),
    execId: id,
    containerId: text(255),
    cmd: text(32_768),
    user: text(255),
    cols: cells,
    rows: cells,
    /** To the container's own process instead, in newer versions. */
    attach: orNull(Type.Boolean()),
  },
  open,
);
/** From the agent: Docker has taken the exec. Whether its process runs is not known yet. */
export const execReady = Type.Object({ type: Type.Literal('exec_ready'), execId: id }, open);
export const execInput = Type.Object({ type: Type.Literal('exec_input'), execId: id, data: base64 }, open);
export const execOutput = Type.Object({ type: Type.Literal('exec_output'), execId: id, data: base64 }, open);
export const execResize = Type.Object(
  { type: Type.Literal('exec_resize'), execId: id, cols: cells, rows: cells },
  open,
);
/** From either end; there is no exit code. */
export const execEnd = Type.Object(
  { type: Type.Literal('exec_end'), execId: id, reason: Type.Optional(text(MAX_TEXT_CHARS)) },
  open,
);

/** What an agent says, by type. */
export const FROM_AGENT = {
  hello,
  error,
  response,
  stream,
  stream_end: streamEnd,
  metrics,
  container_event: containerEvent,
  ping,
  pong,
  exec_ready: execReady,
  exec_output: execOutput,
  exec_end: execEnd,
} as const;

/** What a server says, by type. */
export const FROM_SERVER = {
  welcome,
  error,
  request,
  stream_end: streamEnd,
  ping,
  pong,
  exec_start: execStart,
  exec_input: execInput,
  exec_resize: execResize,
  exec_end: execEnd,
} as const;

type Spoken<T extends Readonly<Record<string, TSchema>>> = { [K in keyof T]: Static<T[K]> }[keyof T];

export type AgentMessage = Spoken<typeof FROM_AGENT>;
export type ServerMessage = Spoken<typeof FROM_SERVER>;
export type Hello = Static<typeof hello>;
export type HawserRequest = Static<typeof request>;
export type HawserResponse = Static<typeof response>;
export type HawserMetrics = Static<typeof metrics>;
export type HawserEvent = Static<typeof containerEvent>;
export type HawserError = Static<typeof error>;

/** The text of an error, whichever of the two fields its sender writes. */
export function errorText({ error, message }: HawserError): string {
  return error || message || 'no reason given';
}
