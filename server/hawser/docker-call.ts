/**
 * docker.request on hosts of Hawser. A request that is not streamed comes back whole, with its status, within 30 s; a streamed
 * one has no end of time and no status, so that what could refuse it is asked before.
 */
import { STATUS_CODES } from 'node:http';
import { type HeaderPair, isHopByHop } from '../../shared/docker/headers.ts';
import { normalPath } from '../../shared/docker/path.ts';
import { FairleadError } from '../../shared/errors.ts';
import type { dockerRequest } from '../../shared/messages/docker.ts';
import type { Params } from '../../shared/messages/kind.ts';
import type { LinkStream, OpenOptions } from '../hosts/host-link.ts';
import { isSince } from './agent-version.ts';
import type { Answer, HawserCall } from './ask.ts';
import { requireExecWithoutInput } from './docker-upgrade.ts';
import { hawserStream } from './hawser-stream.ts';
import { HeldBytes } from './held-bytes.ts';
import { type KindContext, type ServeKind, unsupported } from './kind.ts';
import { MAX_REFUSAL_CHARS, mayBeRefusal, refusalIn } from './refusal.ts';
import { requireWholeTar } from './refusal-stream.ts';
import { RequestBody } from './request-body.ts';

type DockerRequest = typeof dockerRequest;
type DockerParams = Params<DockerRequest>;

/** Images that one save may name. */
const MAX_SAVED_IMAGES = 16;
/** The release from which on all agents take bodies that are no JSON. */
const BINARY_SINCE = [0, 2, 46] as const;

const JSON_TYPE = 'application/json';
const TAR_TYPE = 'application/x-tar';

/** How a call's answer is streamed: what tells before whether it will be one, and how it begins then. */
interface Streamed {
  /** Asked first; the first answer with an error status is the answer. */
  readonly before: readonly HawserCall[];
  /** Headers of the last of them that belong to the answer, too. */
  readonly keep?: string;
  readonly contentType?: string;
  /** Whether the end of the answer can be told from a break. */
  readonly isTar?: boolean;
  /** Whether a refusal is still told by its looks: not where the bytes are somebody else's. */
  readonly mayRefuse: boolean;
}

export const serveDockerRequest: ServeKind<DockerRequest> = async (context, params, options) => {
  const call = await callOf(context, params, options);
  const streamed = call.json === undefined && call.binary === undefined ? streamedOf(params) : undefined;
  if (streamed !== undefined) return await answerStream(context, params, call, streamed, options);
  return whole(context, await context.ask(call, { signal: options.signal }), params.method === 'HEAD', options);
};

/** The request, with its body, which is waited for. @throws FairleadError UNSUPPORTED, VALIDATION, PAYLOAD_TOO_LARGE */
async function callOf(context: KindContext, params: DockerParams, { feed, signal }: OpenOptions): Promise<HawserCall> {
  const { method, target, headers, body } = params;
  const [area, verb] = normalPath(target) ?? [];
  if (area === 'build' && method === 'POST' && verb === undefined) throw unsupported('image.build');
  const call = { method, path: target, headers: headersOf(headers) };
  const sink = new RequestBody();
  if (body === 'none') {
    feed?.(sink);
    return call;
  }
  const isJson = /^application\/(?:[\w.-]+\+)?json\b/i.test(find(headers, 'content-type') ?? '');
  if (!isJson && !isSince(context.facts.agentVersion, BINARY_SINCE)) {
    throw unsupported(
      'uploads: its version takes no request bodies but JSON; Hawser 0.2.46 takes small ones, and fairlead-agent any',
    );
  }
  feed?.(sink);
  const bytes = await sink.whole(signal);
  if (bytes.byteLength === 0) return call;
  if (!isJson) return { ...call, binary: bytes };
  const json = jsonText(bytes);
  if (area === 'containers' && normalPath(target)?.[2] === 'exec') requireExecWithoutInput(json);
  return { ...call, json };
}

/** The text of a JSON body as it came. @throws FairleadError VALIDATION */
function jsonText(bytes: Buffer): string {
  const text = bytes.toString('utf8');
  try {
    JSON.parse(text);
  } catch (error) {
    throw new FairleadError('VALIDATION', 'the body is not the JSON that its content type says', { cause: error });
  }
  return text;
}

/** One value for each name, as the agent sets them; what is between two neighbours is not passed on. */
function headersOf(pairs: readonly HeaderPair[]): Record<string, string> {
  return Object.fromEntries(pairs.filter(([name]) => !isHopByHop(name)));
}

function find(pairs: readonly HeaderPair[], wanted: string): string | undefined {
  return pairs.find(([name]) => name.toLowerCase() === wanted)?.[1];
}

/** How a call is streamed, if it is one that may be large, or go on for long. */
function streamedOf({ method, target }: DockerParams): Streamed | undefined {
  const path = normalPath(target) ?? [];
  const [area] = path;
  const verb = `${method} ${path.at(-1)}`;
  if (area === 'containers' && path.length >= 3) return streamedOfContainer(verb, target);
  if (area === 'images') return streamedOfImages(verb, path, target);
  if (area === 'events' && method === 'GET') return { before: [], contentType: JSON_TYPE, mayRefuse: true };
  return undefined;
}

/** The object of a call, looked at under the same version of the API and the same spelling of its name. */
function inspectOf(target: string): HawserCall {
  return { method: 'GET', path: pathOf(target).replace(/\/[^/]+$/, '/json') };
}

function pathOf(target: string): string {
  return target.split('?')[0] ?? '';
}

function queryOf(target: string): URLSearchParams {
  return new URLSearchParams(target.split('?')[1] ?? '');
}

function streamedOfContainer(verb: string, target: string): Streamed | undefined {
  const before = [inspectOf(target)];
  switch (verb) {
    case 'GET logs':
      return { before, mayRefuse: false };
    case 'GET export':
      return { before, isTar: true, mayRefuse: false };
    case 'GET stats':
      return isFalse(queryOf(target).get('stream')) ? undefined : { before, contentType: JSON_TYPE, mayRefuse: true };
    case 'GET archive': {
      const head = [{ method: 'HEAD', path: target }];
      return {
        before: head,
        keep: 'x-docker-container-path-stat',
        contentType: TAR_TYPE,
        isTar: true,
        mayRefuse: false,
      };
    }
    case 'POST wait':
      return { before, contentType: JSON_TYPE, mayRefuse: true };
    default:
      return undefined;
  }
}

function streamedOfImages(verb: string, path: readonly string[], target: string): Streamed | undefined {
  if (verb === 'GET get') return savedImages(path, target);
  const isTransfer = (verb === 'POST create' && path.length === 2) || (verb === 'POST push' && path.length >= 3);
  return isTransfer ? { before: [], contentType: JSON_TYPE, mayRefuse: true } : undefined;
}

function savedImages(path: readonly string[], target: string): Streamed {
  const contentType = TAR_TYPE;
  if (path.length > 2) return { before: [inspectOf(target)], contentType, isTar: true, mayRefuse: false };
  const names = queryOf(target)
    .getAll('names')
    .flatMap((list) => list.split(','));
  if (names.length > MAX_SAVED_IMAGES) throw unsupported(`image.save of more than ${MAX_SAVED_IMAGES} images at once`);
  const base = pathOf(target).replace(/\/get$/, '');
  const before = names.map((name) => ({
    method: 'GET',
    path: `${base}/${name.split('/').map(encodeURIComponent).join('/')}/json`,
  }));
  return { before, contentType, isTar: before.length > 0, mayRefuse: before.length === 0 };
}

function isFalse(value: string | null): boolean {
  return value !== null && ['', '0', 'no', 'none', 'false'].includes(value.toLowerCase());
}

async function answerStream(
  context: KindContext,
  { method }: DockerParams,
  call: HawserCall,
  { before, keep, contentType, isTar, mayRefuse }: Streamed,
  options: OpenOptions,
): Promise<LinkStream<DockerRequest>> {
  const { signal } = options;
  const kept: HeaderPair[] = contentType === undefined ? [] : [['Content-Type', contentType]];
  for (const question of before) {
    const answer = await context.ask(question, { signal });
    if (answer.status >= 400)
      return whole(context, await refusal(context, question, answer, call, signal), false, options);
    if (keep === undefined) continue;
    const value = Object.entries(answer.headers).find(([name]) => name.toLowerCase() === keep)?.[1];
    if (value !== undefined) kept.push([keep, value]);
  }
  const bytes = context.transport.stream(call);
  if (isTar) requireWholeTar(bytes);
  const first = mayRefuse ? await firstBytes(bytes, signal) : undefined;
  if (first !== undefined && first.refusal !== undefined)
    return whole(context, first.refusal, method === 'HEAD', options);
  return toStream({ status: 200, headers: kept, bytes }, options);
}

/** A refusal of HEAD has no words: the call itself has. */
async function refusal(
  context: KindContext,
  question: HawserCall,
  answer: Answer,
  call: HawserCall,
  signal: AbortSignal | undefined,
): Promise<Answer> {
  return question.method === 'HEAD' ? await context.ask(call, { signal }) : answer;
}

/** Waits for enough to tell whether the answer is a refusal; what has come is read again by whoever reads the bytes. */
async function firstBytes(bytes: HeldBytes, signal: AbortSignal | undefined): Promise<{ refusal: Answer | undefined }> {
  const onAbort = () => bytes.destroy(signal?.reason);
  if (signal?.aborted) onAbort();
  signal?.addEventListener('abort', onAbort, { once: true });
  const held: Buffer[] = [];
  let isOver = false;
  try {
    while (!isOver) {
      const text = Buffer.concat(held).toString('utf8');
      if (held.length > 0 && (!mayBeRefusal(text) || text.length > MAX_REFUSAL_CHARS)) break;
      isOver = !(await readable(bytes));
      for (let chunk = bytes.read() as Buffer | null; chunk !== null; chunk = bytes.read() as Buffer | null)
        held.push(chunk);
    }
  } finally {
    signal?.removeEventListener('abort', onAbort);
  }
  const body = Buffer.concat(held);
  const found = isOver ? refusalIn(body.toString('utf8')) : undefined;
  if (found !== undefined) {
    return { refusal: { status: found.status, headers: { 'Content-Type': 'application/json' }, body } };
  }
  if (body.byteLength > 0) bytes.unshift(body);
  return { refusal: undefined };
}

/** Resolves when something can be read, or with false at the end. @throws what the bytes fail with */
function readable(bytes: HeldBytes): Promise<boolean> {
  if (bytes.errored !== null) return Promise.reject(bytes.errored);
  if (bytes.readableLength > 0) return Promise.resolve(true);
  if (bytes.hasFinished) return Promise.resolve(false);
  const { promise, resolve, reject } = Promise.withResolvers<boolean>();
  const settle = () => {
    bytes.off('readable', onReadable).off('error', onError);
  };
  const onReadable = () => {
    settle();
    resolve(bytes.readableLength > 0);
  };
  const onError = (error: Error) => {
    settle();
    reject(error);
  };
  bytes.once('readable', onReadable).once('error', onError);
  return promise;
}

/** Docker's whole answer. Its length is that of the bytes that there are. @throws FairleadError OVERLOADED */
function whole(
  { transport }: KindContext,
  answer: Answer,
  isHead: boolean,
  options: OpenOptions,
): LinkStream<DockerRequest> {
  const pairs = Object.entries(answer.headers).filter(([name]) => !isHopByHop(name));
  const hasBody = !isHead && answer.status !== 204 && answer.status !== 304;
  const headers: HeaderPair[] = isHead ? pairs : pairs.filter(([name]) => name.toLowerCase() !== 'content-length');
  if (hasBody) headers.push(['Content-Length', String(answer.body.byteLength)]);
  const bytes = hasBody ? HeldBytes.of(transport.wholes, answer.body) : HeldBytes.none();
  return toStream({ status: answer.status, headers, bytes }, options);
}

function toStream(
  { status, headers, bytes }: { status: number; headers: readonly HeaderPair[]; bytes: HeldBytes },
  { signal }: OpenOptions,
): LinkStream<DockerRequest> {
  const { promise: trailer, resolve, reject } = Promise.withResolvers<{ headers: HeaderPair[] }>();
  trailer.catch(() => undefined);
  bytes.once('end', () => resolve({ headers: [] }));
  bytes.once('error', reject);
  return hawserStream<DockerRequest>({
    reply: { status, reason: STATUS_CODES[status] ?? '', headers: [...headers], upgraded: false },
    bytes,
    trailer,
    signal,
  });
}
