/** One exchange with a host's Docker, from the client's request to the end of the answer or of the connection. */
import type { IncomingMessage } from 'node:http';
import { addAbortSignal, type Duplex, Readable, type Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import { Gathered } from '../../shared/gathered.ts';
import { dockerRequest, dockerUpgrade, MAX_UPGRADE_BODY_CHARS } from '../../shared/messages/docker.ts';
import { pump } from '../../shared/pump.ts';
import { answerHead, type DockerStream, sendAnswer } from '../docker-proxy/answer.ts';
import { breakOff } from '../docker-proxy/break-off.ts';
import { factsOf, isAudited, isBodyTelling, readTellingBody } from '../docker-proxy/call-facts.ts';
import type { ClientCall } from '../docker-proxy/client-call.ts';
import { runTunnel, upgradeHead } from '../docker-proxy/tunnel.ts';
import type { HostLink } from '../hosts/host-link.ts';
import { audited, type Verdict } from './audited.ts';
import type { RouteContext } from './context.ts';
import { endSocket } from './end-socket.ts';
import { takeTurn } from './host-turns.ts';
import { END_MS, MAX_BODY_BYTES } from './limits.ts';
import { clientGone, type LiveStream } from './live-streams.ts';

export interface Exchange {
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
  readonly host: string;
  readonly call: ClientCall;
  readonly live: LiveStream;
  /** Whether the client asks for an upgrade. */
  readonly isUpgrade: boolean;
  /** To be called when the request's body begins to go to the host: it may take as long as it does from then on. */
  readonly onUpload: () => void;
}

/**
 * Runs an exchange to its end. What fails before the answer has begun is to be answered by the caller; what fails later
 * has broken it off.
 */
export async function runExchange(exchange: Exchange, context: RouteContext): Promise<void> {
  const { request, reply, live } = exchange;
  const { upgrades } = context;
  const stream = await ask(exchange, context);
  stream.bytes.on('error', (error) => request.log.debug({ err: error }, 'an exchange with Docker was interrupted'));
  try {
    if (exchange.isUpgrade && stream.reply.upgraded) return await tunnel(exchange, stream, context);
    const head = answerHead(stream, request.id);
    upgrades.answer(request);
    reply.hijack();
    await sendAnswer(request.raw, reply.raw, head, stream, live.signal);
  } catch (error) {
    stream.reset(isFairleadError(error) ? error : new FairleadError('INTERNAL', 'the exchange failed on the server'));
    throw error;
  }
}

/** Opens the exchange on the host and sends it the request's body; what is audited is written down once Docker has answered. */
async function ask(exchange: Exchange, context: RouteContext): Promise<DockerStream> {
  const { deps, links } = context;
  const { request, host, call, isUpgrade } = exchange;
  const body = isBodyTelling(call) ? await wholeBody(exchange, MAX_BODY_BYTES) : undefined;
  const facts = factsOf(call, host, body === undefined ? undefined : readTellingBody(body.toString('utf8')));
  const open = async () => await inTurn(exchange, context, await links.to(request, host, facts), body);
  if (!isAudited(call)) return await open();
  // What Docker does before it answers cannot be taken back; a connection that is handed over can, and so can a new exec.
  const isBegun = facts.isStrict && !isUpgrade && body === undefined;
  if (!isBegun) return await audited(deps, request, { ...facts, judge }, open);
  const { action, target, detail } = facts;
  await audited(deps, request, { ...facts, isStrict: true }, async () => undefined);
  return await audited(deps, request, { action, target, detail, judge: failureOf }, open);
}

function failureOf(stream: DockerStream): Verdict | undefined {
  const verdict = judge(stream);
  return verdict.result === 'failed' ? verdict : undefined;
}

/** Opens the exchange once it is the caller's turn: until it is answered it takes one of the places that the host has. */
async function inTurn(exchange: Exchange, context: RouteContext, link: HostLink, body?: Buffer): Promise<DockerStream> {
  const { signal, tokenId } = exchange.live;
  const end = await takeTurn(context, { tokenId, hostId: link.hostId }, signal);
  try {
    return await openOn(link, exchange, body);
  } finally {
    end();
  }
}

/** Docker's own refusal is a failure of what was asked. */
function judge({ reply: { status } }: DockerStream): Verdict {
  return { result: status < 400 ? 'ok' : 'failed', detail: { status } };
}

async function openOn(link: HostLink, exchange: Exchange, whole?: Buffer): Promise<DockerStream> {
  const { request, call, live, isUpgrade, onUpload } = exchange;
  const { method, target, headers, body } = call;
  const params = { method, target, headers: headers.map(([...pair]) => pair) };
  const options = { signal: live.signal, timeoutMs: Number.POSITIVE_INFINITY };
  const { upgrade: protocol } = request.headers;
  if (isUpgrade && protocol !== undefined) {
    const first = whole ?? (await wholeBody(exchange, MAX_UPGRADE_BODY_CHARS));
    return await link.open(dockerUpgrade, { ...params, protocol, body: first.toString('utf8') }, options);
  }
  if (whole === undefined) onUpload();
  const feed = (sink: Writable) => void sendBody(request.raw, sink, live.signal, whole);
  return await link.open(dockerRequest, { ...params, body }, { ...options, feed });
}

/** Never rejects: a body that breaks off ends the exchange. */
async function sendBody(request: IncomingMessage, sink: Writable, signal: AbortSignal, whole?: Buffer): Promise<void> {
  if (whole !== undefined) return void sink.end(whole);
  try {
    await pump(request, sink, signal);
    sink.end();
  } catch (error) {
    sink.destroy(error instanceof Error ? error : undefined);
  }
}

/** Joins the client's connection and Docker's. */
async function tunnel(
  exchange: Exchange,
  stream: DockerStream,
  { deps, upgrades, gonePeers }: RouteContext,
): Promise<void> {
  const { request, reply, live } = exchange;
  const head = upgradeHead(stream, request.headers.upgrade ?? '', request.id);
  const { socket, head: first } = upgrades.take(request, reply);
  // Fastify counts answers; an upgrade is none that it sees.
  deps.metrics.httpRequest(request.method, request.routeOptions.url ?? '', stream.reply.status);
  const onClose = () => live.end(clientGone());
  socket.once('close', onClose);
  if (socket.destroyed) onClose();
  const unwatch = gonePeers.watch(socket, request.raw.socket, request.headers['user-agent'], onClose);
  if (first.byteLength > 0) socket.unshift(first);
  try {
    await runTunnel(socket, head, stream, live.signal);
    await endWriting(socket, live.signal);
    endSocket(socket, deps.clock);
  } catch (error) {
    breakOff(socket, request.raw.socket);
    throw error;
  } finally {
    unwatch();
    socket.off('close', onClose);
  }
}

/** Sends the end, behind all that a slow client has yet to take. */
async function endWriting(socket: Duplex, signal: AbortSignal): Promise<void> {
  socket.end();
  await finished(socket, { readable: false, signal });
}

/** An answer may come before the whole request: what is left of that is not waited for. */
export function dropRest(request: IncomingMessage, { deps }: RouteContext): void {
  if (request.complete) return;
  request.resume();
  // Its connection goes with it.
  const timer = deps.clock.setTimeout(() => request.destroy(), END_MS);
  request.once('close', () => timer.cancel());
}

/** @throws FairleadError PAYLOAD_TOO_LARGE, CANCELLED */
async function wholeBody({ request, live }: Exchange, maxBytes: number): Promise<Buffer> {
  const gathered = new Gathered(maxBytes);
  try {
    for await (const chunk of addAbortSignal(live.signal, Readable.from(request.raw)) as AsyncIterable<Buffer>) {
      if (!gathered.add(chunk)) {
        throw new FairleadError('PAYLOAD_TOO_LARGE', `the body of this call may have ${maxBytes} bytes at most`);
      }
    }
  } catch (error) {
    live.signal.throwIfAborted();
    throw isFairleadError(error) ? error : clientGone();
  }
  return gathered.bytes();
}
