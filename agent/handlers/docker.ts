/** Handlers of docker.request and docker.upgrade: a client's own exchange with Docker's API, passed through as it is. */
import type { Duplex } from 'node:stream';
import { endToEnd } from '../../shared/docker/headers.ts';
import { normalPath } from '../../shared/docker/path.ts';
import { ExactLength } from '../../shared/exact-length.ts';
import type { dockerRequest, dockerUpgrade } from '../../shared/messages/docker.ts';
import type { MuxStream } from '../../shared/mux/stream.ts';
import { pump } from '../../shared/pump.ts';
import type { BareConnection, RawAnswer, RawExchange } from '../docker/raw-exchange.ts';
import { callsToFollow, RunningExec } from '../docker/running-exec.ts';
import type { Handler, HandlerContext } from './handler.ts';

type DockerStream = MuxStream<typeof dockerRequest> | MuxStream<typeof dockerUpgrade>;

export const handleDockerRequest: Handler<typeof dockerRequest> = async (stream, context) => {
  const exec = startedExec(stream.params.target, context);
  const exchange = context.docker.exchange(stream.kind, stream.params);
  await untilAborted(stream, exchange, { exec, context }, async () => {
    // An answer may come before the whole request is there, and then it counts: what the rest fails with is a consequence.
    const isSent = sendBody(stream.bytes, exchange, stream.params.body, stream.aborted);
    const answer = await Promise.race([exchange.answer, isSent.then(() => exchange.answer)]);
    exec?.answered(answer.status);
    await passOn(stream, answer);
  });
};

export const handleDockerUpgrade: Handler<typeof dockerUpgrade> = async (stream, context) => {
  const { kind, params, bytes } = stream;
  const { body, ...request } = params;
  const exec = startedExec(params.target, context);
  const first = Buffer.from(body, 'utf8');
  const exchange = context.docker.exchange(kind, { ...request, body: first.byteLength || 'none' });
  if (first.byteLength > 0) exchange.body.end(first);
  await untilAborted(stream, exchange, { exec, context }, async () => {
    const answer = await exchange.answer;
    exec?.answered(answer.status);
    if (answer.connection === undefined) {
      bytes.resume();
      return await passOn(stream, answer);
    }
    await join(stream, answer, answer.connection);
    if (exec !== undefined && bytes.readableEnded) await endIfLeft(exec.follow(), context);
    stream.finish({ headers: [] });
  });
};

interface Work {
  readonly exec: StartedExec | undefined;
  readonly context: HandlerContext;
}

/**
 * Does `work`, which fails as soon as the stream is aborted; the exchange does not outlive it, nor does what Docker has been
 * told to start, whether it has answered or not.
 */
async function untilAborted(
  stream: DockerStream,
  exchange: RawExchange,
  { exec, context }: Work,
  work: () => Promise<void>,
): Promise<void> {
  const { aborted } = stream;
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
  bytes: Duplex,
  { body: sink, answer }: RawExchange,
  body: 'none' | 'chunked' | number,
  aborted: AbortSignal,
): Promise<void> {
  if (body === 'none') {
    bytes.resume();
    return;
  }
  const exact = body === 'chunked' ? undefined : new ExactLength(body);
  try {
    if (exact === undefined) {
      await pump(bytes, sink, aborted);
    } else {
      await Promise.all([pump(bytes, exact, aborted).then(() => exact.end()), pump(exact, sink, aborted)]);
    }
    sink.end();
  } catch (error) {
    if (!sink.errored && !sink.destroyed) throw error;
    // Docker has stopped reading: its answer, or the failure of its connection, says why.
    exact?.destroy();
    bytes.resume();
    await answer;
  }
}

/** Answers with what Docker answers, from the head on. */
async function passOn(stream: DockerStream, { status, reason, headers, body }: RawAnswer): Promise<void> {
  if (body === undefined) throw new Error('an answer has a body');
  stream.sendReply({ status, reason, headers, upgraded: false });
  await pump(body, stream.bytes, stream.aborted);
  stream.finish({ headers: endToEnd(body.rawTrailers) });
}

/** Joins the stream and Docker's connection until Docker ends it; either half may end before. */
async function join(stream: DockerStream, answer: RawAnswer, { source, sink }: BareConnection): Promise<void> {
  const { status, reason, headers } = answer;
  const { bytes, aborted } = stream;
  stream.sendReply({ status, reason, headers, upgraded: true });
  const inbound = pump(bytes, sink, aborted).then(() => void sink.end());
  // Whoever writes may fail when Docker no longer reads; whether that was the end, Docker's own half tells.
  inbound.catch(() => undefined);
  await pump(source, bytes, aborted);
}

/** An exec that a call starts. */
interface StartedExec {
  /** False once Docker has answered that it does not start it: it may be somebody else's then. */
  readonly mayRun: boolean;
  /** Takes in the status of Docker's answer. */
  answered(status: number): void;
  /** Follows it, from the first call on: Docker has been told to start it. */
  follow(): RunningExec;
}

/** @throws FairleadError DENIED_BY_HOST for an exec that could not be ended when its client leaves */
function startedExec(target: string, { docker }: HandlerContext): StartedExec | undefined {
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
  };
}

/**
 * Ends an exec with a terminal whose client has closed its half: nobody does so who stays. Docker then lets go of the
 * connection, and of the process as well, which goes on without anybody.
 */
async function endIfLeft(running: RunningExec, context: HandlerContext): Promise<void> {
  const state = await running.inspect({}).catch(() => undefined);
  if (state?.tty === true && state.running) await end(running, context);
}

async function end(running: RunningExec, { log }: HandlerContext): Promise<void> {
  if (await running.end()) return;
  log.warn({ exec: running.id }, 'the process of a left exec could not be ended and runs on');
}
