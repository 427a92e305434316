/**
 * One exchange between a client and Docker's API, passed through as it is, wherever the client is: behind a stream of the mesh,
 * or at a socket of this host.
 */
import type { Readable, Writable } from 'node:stream';
import type { Logger } from 'pino';
import type { HeaderPair } from '../../shared/docker/headers.ts';
import { endToEnd } from '../../shared/docker/headers.ts';
import { normalPath } from '../../shared/docker/path.ts';
import type { BareConnection, RawAnswer, RawExchange, RawRequest } from '../../shared/docker/raw-exchange.ts';
import { isFairleadError } from '../../shared/errors.ts';
import { pump } from '../../shared/pump.ts';
import type { PolicySubject } from '../policy/policy.ts';
import type { DockerEngine } from './engine.ts';
import { callsToFollow, RunningExec } from './running-exec.ts';

/** The head of Docker's answer; `upgraded`: what follows, both ways, are the bytes of the bare connection. */
export interface AnswerHead extends Pick<RawAnswer, 'status' | 'reason' | 'headers'> {
  readonly upgraded: boolean;
}

/** The client's end of an exchange. */
export interface ExchangeClient {
  /** As which the host's policy judges it. */
  readonly kind: PolicySubject;
  readonly request: Omit<RawRequest, 'body' | 'protocol'>;
  /** The request's body, and behind an upgrade what goes into the connection. */
  readonly source: Readable;
  /** Takes the answer's body, and behind an upgrade what comes out of the connection; not before `sendReply`. */
  readonly sink: Writable;
  /** Fires when the client is gone, or is to go. */
  readonly aborted: AbortSignal;
  sendReply(head: AnswerHead): void;
  /** All has been sent. */
  finish(trailers: HeaderPair[]): void;
}

export interface ExchangeContext {
  readonly docker: DockerEngine;
  readonly log: Pick<Logger, 'warn'>;
}

/**
 * Runs a request to the end of its answer.
 * @param body how the client's bytes go to Docker: as no body, in chunks, or as so many bytes
 * @throws FairleadError DENIED_BY_HOST, MESSAGE_INVALID, SHUTDOWN; what either connection fails with; the reason of `aborted`
 */
export async function runRequest(
  client: ExchangeClient,
  body: RawRequest['body'],
  context: ExchangeContext,
): Promise<void> {
  const exec = startedExec(client.request.target, context);
  const exchange = context.docker.exchange(client.kind, { ...client.request, body });
  await untilAborted(client, exchange, { exec, context }, async () => {
    // An answer may come before the whole request is there, and then it counts: what the rest fails with is a consequence.
    const isSent = sendBody(client.source, exchange, body, client.aborted);
    const answer = await Promise.race([exchange.answer, isSent.then(() => exchange.answer)]);
    exec?.answered(answer.status);
    await passOn(client, answer);
    // Detached: it is to run on without anybody.
    exec?.over();
  });
}

/** What a request for an upgrade has besides. */
export interface UpgradeRequest {
  /** The protocol that is asked for. */
  readonly protocol: string;
  /** The request's whole body: the client's bytes are what goes into the connection. */
  readonly body: Buffer;
}

/** Runs a request for an upgrade to the end of the connection, or of the answer if Docker makes none. @throws as `runRequest` */
export async function runUpgrade(
  client: ExchangeClient,
  { protocol, body }: UpgradeRequest,
  context: ExchangeContext,
): Promise<void> {
  const { request, source } = client;
  const exec = startedExec(request.target, context);
  const exchange = context.docker.exchange(client.kind, { ...request, protocol, body: body.byteLength || 'none' });
  if (body.byteLength > 0) exchange.body.end(body);
  await untilAborted(client, exchange, { exec, context }, async () => {
    const answer = await exchange.answer;
    exec?.answered(answer.status);
    if (answer.connection === undefined) {
      source.resume();
      return await passOn(client, answer);
    }
    await join(client, answer, answer.connection);
    if (exec !== undefined && source.readableEnded) await endIfLeft(exec.follow(), context);
    client.finish([]);
    if (exec !== undefined) await endIfLost(exec.follow(), context);
  });
}

interface Work {
  readonly exec: StartedExec | undefined;
  readonly context: ExchangeContext;
}

/**
 * Does `work`, which fails as soon as the client is gone; the exchange does not outlive it, nor does what Docker has been
 * told to start, whether it has answered or not.
 */
async function untilAborted(
  { aborted }: ExchangeClient,
  exchange: RawExchange,
  { exec, context }: Work,
  work: () => Promise<void>,
): Promise<void> {
  const { promise: left, reject } = Promise.withResolvers<never>();
  const onAbort = () => reject(aborted.reason);
  aborted.addEventListener('abort', onAbort);
  try {
    aborted.throwIfAborted();
    await Promise.race([work(), left]);
  } catch (error) {
    if (exec?.mayRun && exchange.body.writableEnded) await end(exec.follow(), context);
    aborted.throwIfAborted();
    throw error;
  } finally {
    aborted.removeEventListener('abort', onAbort);
    exchange.destroy();
  }
}

/** Rejects when the body is not what it should be; never, when Docker no longer takes it. */
async function sendBody(
  source: Readable,
  { body: sink, answer }: RawExchange,
  body: RawRequest['body'],
  aborted: AbortSignal,
): Promise<void> {
  if (body === 'none') {
    source.resume();
    return;
  }
  try {
    await pump(source, sink, aborted, body === 'chunked' ? undefined : body);
    sink.end();
  } catch (error) {
    if (!sink.errored && !sink.destroyed) throw error;
    // Docker has stopped reading: its answer, or the failure of its connection, says why.
    source.resume();
    await answer;
  }
}

/** Answers with what Docker answers, from the head on. */
async function passOn(client: ExchangeClient, { status, reason, headers, body }: RawAnswer): Promise<void> {
  if (body === undefined) throw new Error('an answer has a body');
  client.sendReply({ status, reason, headers, upgraded: false });
  await pump(body, client.sink, client.aborted);
  client.finish(endToEnd(body.rawTrailers));
}

/** Joins the client and Docker's connection until Docker ends it; either half may end before. */
async function join(client: ExchangeClient, answer: RawAnswer, { source, sink }: BareConnection): Promise<void> {
  const { status, reason, headers } = answer;
  const { aborted } = client;
  client.sendReply({ status, reason, headers, upgraded: true });
  const inbound = pump(client.source, sink, aborted).then(() => void sink.end());
  // Whoever writes may fail when Docker no longer reads; whether that was the end, Docker's own half tells.
  inbound.catch(() => undefined);
  await pump(source, client.sink, aborted);
}

/** An exec that a call starts. */
interface StartedExec {
  /** False once Docker has answered that it does not start it: it may be somebody else's then. */
  readonly mayRun: boolean;
  /** Takes in the status of Docker's answer. */
  answered(status: number): void;
  /** Follows it, from the first call on: Docker has been told to start it. */
  follow(): RunningExec;
  /** Says that it goes on by itself. */
  over(): void;
}

/** @throws FairleadError DENIED_BY_HOST for an exec that could not be ended when its client leaves */
function startedExec(target: string, { docker }: ExchangeContext): StartedExec | undefined {
  const [area, id = '', verb, ...rest] = normalPath(target) ?? [];
  if (area !== 'exec' || verb !== 'start' || rest.length > 0) return undefined;
  for (const call of callsToFollow(id)) docker.requirePermitted(call);
  let running: RunningExec | undefined;
  let mayRun = true;
  return {
    get mayRun() {
      return mayRun;
    },
    answered(status) {
      mayRun = status < 400;
      if (mayRun) this.follow();
    },
    follow() {
      running ??= new RunningExec(docker, id);
      return running;
    },
    over() {
      running?.over();
    },
  };
}

/**
 * Ends an exec with a terminal whose client has closed its half: nobody does so who stays. Docker then lets go of the
 * connection, and of the process as well, which goes on without anybody.
 */
async function endIfLeft(running: RunningExec, context: ExchangeContext): Promise<void> {
  const state = await running.inspect({}).catch(() => undefined);
  if (state?.tty === true && state.running) await end(running, context);
}

/**
 * Ends an exec whose Docker was lost, which closes the connection as the end of the process does. One that Docker has let go
 * of otherwise has ended, or was left by the keys for that: then it goes on by itself.
 */
async function endIfLost(running: RunningExec, context: ExchangeContext): Promise<void> {
  try {
    await running.inspect({});
    running.over();
  } catch (error) {
    if (!isFairleadError(error)) throw error;
    if (error.code === 'DOCKER_UNREACHABLE') await end(running, context);
  }
}

async function end(running: RunningExec, { log }: ExchangeContext): Promise<void> {
  if (await running.end()) return;
  log.warn({ exec: running.id }, 'the process of a left exec could not be ended and runs on');
}
