/** A client's own exchange with Docker on a host whose agent listens: byte for byte, but for what the agent makes of it. */
import { PassThrough } from 'node:stream';
import { endToEnd, type HeaderPair } from '../../../shared/docker/headers.ts';
import { normalPath } from '../../../shared/docker/path.ts';
import type { RawAnswer } from '../../../shared/docker/raw-exchange.ts';
import { isFairleadError } from '../../../shared/errors.ts';
import type { dockerRequest, dockerUpgrade } from '../../../shared/messages/docker.ts';
import type { Params, Reply } from '../../../shared/messages/kind.ts';
import { pump } from '../../../shared/pump.ts';
import type { LinkStream, OpenOptions } from '../../hosts/host-link.ts';
import { hawserStream } from '../hawser-stream.ts';
import { HeldBytes } from '../held-bytes.ts';
import { unsupported } from '../kind.ts';
import { bodyOf } from './agent-answer.ts';
import { exitCode, inspectExec } from './exec.ts';
import { handedOver, refusalText } from './handed-over.ts';
import type { ServeStandard, StandardContext } from './kind.ts';
import type { Begun } from './standard-transport.ts';
import { untilAborted } from './until-aborted.ts';

type DockerRequest = typeof dockerRequest;
type DockerUpgrade = typeof dockerUpgrade;

/** Ctrl-P and Ctrl-Q, as Docker takes them unless others were asked for. */
const DEFAULT_DETACH_KEYS = Buffer.from([0x10, 0x11]);

export const serveStandardRequest: ServeStandard<DockerRequest> = async (context, params, options) => {
  const { transport } = context;
  const unknown = await unknownExec(context, params, options);
  if (unknown !== undefined) {
    options.feed?.(drained());
    return unknown;
  }
  const begun = transport.begin(params);
  return await untilAborted(begun, options.signal, async () => {
    sendBody(begun, params.body, options);
    const answer = await transport.head(begun);
    return toStream<DockerRequest>(answer, begun, transport.body(begun, answer), options);
  });
};

export const serveStandardUpgrade: ServeStandard<DockerUpgrade> = async (context, params, options) => {
  const { transport } = context;
  const { body, ...request } = params;
  requireHandOver(params);
  const first = Buffer.from(body, 'utf8');
  const begun = transport.begin({ ...request, body: first.byteLength || 'none' });
  return await untilAborted(begun, options.signal, async () => {
    if (first.byteLength > 0) begun.body.end(first);
    const answer = await transport.head(begun);
    const { connection } = answer;
    if (connection === undefined) {
      const text = Buffer.from(await refusalText(transport, begun, answer));
      const headers: HeaderPair[] = [
        ['Content-Type', 'application/json'],
        ['Content-Length', String(text.byteLength)],
      ];
      return whole({ ...answer, headers }, text, context, options);
    }
    const exec = normalPath(params.target)?.[1] ?? '';
    const hasTerminal = wantsTerminal(body);
    const confirm = (isBroken: boolean, typed: Buffer) =>
      confirmEnd(context, exec, { isBroken, typed: hasTerminal ? typed : Buffer.alloc(0) });
    const bytes = handedOver(transport, begun, connection, { hasTerminal, typesKeys: false, confirm });
    return toStream<DockerUpgrade>(answer, begun, bytes, options);
  });
};

interface End {
  /** Whether the connection was broken off. */
  readonly isBroken: boolean;
  /** What was typed last into its terminal. */
  readonly typed: Buffer;
}

/**
 * The end of a connection may be the agent's, which was killed, and as clean as Docker's: it counts if the process has ended, is
 * not there any more, or was left to itself by the keys for that.
 * @throws FairleadError STREAM_INTERRUPTED
 */
async function confirmEnd(context: StandardContext, exec: string, { isBroken, typed }: End): Promise<void> {
  try {
    if (typed.byteLength > 0 && !isBroken && (await hasDetached(context, exec, typed))) return;
    await exitCode(context, exec, isBroken);
  } catch (error) {
    if (isBroken || !isFairleadError(error, 'NOT_FOUND')) throw error;
  }
}

/** @throws FairleadError NOT_FOUND, STREAM_INTERRUPTED */
async function hasDetached(context: StandardContext, exec: string, typed: Buffer): Promise<boolean> {
  const { Running, DetachKeys } = await inspectExec(context, exec);
  const isOwn = typeof DetachKeys === 'string' && DetachKeys !== '';
  const keys = isOwn ? Buffer.from(DetachKeys, 'base64') : DEFAULT_DETACH_KEYS;
  return Running === true && typed.subarray(-keys.byteLength).equals(keys);
}

/**
 * Execs are all that an agent hands over the connection of: an attach it passes on as a plain request, which hangs.
 * @throws FairleadError UNSUPPORTED
 */
function requireHandOver({ target }: Params<DockerUpgrade>): void {
  const parts = normalPath(target) ?? [];
  if (parts.length === 3 && parts[0] === 'exec' && parts[2] === 'start') return;
  const what = parts.at(-1) === 'attach' ? 'container.attach' : `docker.upgrade of /${parts.join('/')}`;
  throw unsupported(`${what}: where it listens, it hands over the connections of execs alone`);
}

function wantsTerminal(body: string): boolean {
  try {
    return (JSON.parse(body) as { Tty?: unknown } | null)?.Tty === true;
  } catch {
    // Docker will say what it thinks of it.
    return false;
  }
}

/** Docker's answer for an exec that is not there: started without an upgrade, the agent would hang, having said 200. */
async function unknownExec(
  context: StandardContext,
  { method, target }: Params<DockerRequest>,
  options: OpenOptions,
): Promise<LinkStream<DockerRequest> | undefined> {
  const parts = normalPath(target) ?? [];
  if (method !== 'POST' || parts.length !== 3 || parts[0] !== 'exec' || parts[2] !== 'start') return undefined;
  const path = (target.split('?')[0] ?? '').replace(/\/start$/, '/json');
  const { status, headers, body } = await context.ask({ method: 'GET', path }, { signal: options.signal });
  if (status < 400) return undefined;
  const pairs = endToEnd(Object.entries(headers).flat());
  return whole({ status, reason: '', headers: pairs }, body, context, options);
}

/** Sends what the client sends, as it comes. Docker's answer may come before all of it is there, and then counts. */
function sendBody(begun: Begun, body: Params<DockerRequest>['body'], { feed, signal }: OpenOptions): void {
  if (body === 'none') {
    feed?.(drained());
    return;
  }
  if (body === 'chunked') {
    feed?.(begun.body);
    return;
  }
  const fed = new PassThrough();
  pump(fed, begun.body, signal ?? new AbortController().signal, body).then(
    () => begun.body.end(),
    () => {
      begun.destroy();
      fed.destroy();
    },
  );
  feed?.(fed);
}

/** Takes what nobody wants. */
function drained(): PassThrough {
  const sink = new PassThrough();
  sink.on('error', () => undefined).resume();
  return sink;
}

function whole<K extends DockerRequest | DockerUpgrade>(
  answer: Pick<RawAnswer, 'status' | 'reason' | 'headers'>,
  body: Buffer,
  { transport }: StandardContext,
  options: OpenOptions,
): LinkStream<K> {
  const bytes = body.byteLength === 0 ? HeldBytes.none() : HeldBytes.of(transport.wholes, body);
  return toStream<K>(answer, undefined, bytes, options);
}

function toStream<K extends DockerRequest | DockerUpgrade>(
  answer: Pick<RawAnswer, 'status' | 'reason' | 'headers' | 'connection' | 'body'>,
  begun: Begun | undefined,
  bytes: HeldBytes,
  { signal }: OpenOptions,
): LinkStream<K> {
  const { status, reason, headers, connection } = answer;
  const { promise: trailer, resolve, reject } = Promise.withResolvers<{ headers: HeaderPair[] }>();
  trailer.catch(() => undefined);
  const trailers = () => (begun === undefined || connection !== undefined ? [] : endToEnd(bodyOf(answer).rawTrailers));
  bytes.once('end', () => resolve({ headers: trailers() }));
  bytes.once('error', reject);
  const reply: Reply<DockerRequest> = { status, reason, headers, upgraded: connection !== undefined };
  return hawserStream<K>({ reply: reply as Reply<K>, bytes, trailer: trailer as never, signal });
}
