/** Kinds that one call of Docker's API serves, on hosts of Hawser. */
import { createHash } from 'node:crypto';
import { answerFailure } from '../../shared/docker/answer-failure.ts';
import type { DockerCall } from '../../shared/docker/call.ts';
import { asObject, parseDockerJson } from '../../shared/docker/json.ts';
import type { UnaryCall } from '../../shared/docker/unary-call.ts';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import { Gathered } from '../../shared/gathered.ts';
import type { Item, Reply, StreamKind } from '../../shared/messages/kind.ts';
import type { AskOptions, HawserCall } from './ask.ts';
import { hawserStream } from './hawser-stream.ts';
import { HeldBytes } from './held-bytes.ts';
import type { KindContext, ServeKind } from './kind.ts';
import { REQUEST_MS } from './limits.ts';
import { refusalIn } from './refusal.ts';

/** The largest answer of a call that the agent would cut off if it were not streamed. */
const MAX_SLOW_ANSWER_BYTES = 1024 * 1024;

export function serveUnary(call: UnaryCall): ServeKind {
  return async (context, params, { signal, timeoutMs }) => {
    const asked = call.callOf(params);
    const options = { signal, timeoutMs };
    if (call.shape === 'change') {
      const reply = await actOnce(context, call.kind, params, () => change(context, call, asked, timeoutMs));
      return over(reply);
    }
    const answer = await json(context, asked, options);
    if (call.shape === 'read') return over(asObject(answer) as Reply<StreamKind>);
    const objects = call.objectsOf(answer);
    return over({ count: objects.length } as Reply<StreamKind>, objects as Item<StreamKind>[]);
  };
}

/** A stream that has nothing to come but items. */
export function over(reply: Reply<StreamKind>, items: readonly Item<StreamKind>[] = []) {
  const bytes = HeldBytes.none();
  bytes.resume();
  return hawserStream<StreamKind>({
    reply,
    bytes,
    async *items() {
      yield* items;
    },
  });
}

/** As the agents of Fairlead remember it, but here, since Hawser's forget. */
async function actOnce<T>(
  { once }: KindContext,
  { name }: StreamKind,
  params: unknown,
  act: () => Promise<T>,
): Promise<T> {
  const { idempotencyKey, ...asked } = params as { readonly idempotencyKey?: string };
  if (idempotencyKey === undefined) return await act();
  const digest = createHash('sha256').update(JSON.stringify(asked)).digest('base64');
  return await once.run(idempotencyKey, `${name} ${digest}`, act);
}

/** Whether a call that failed so certainly did nothing. */
export function neverSent(error: unknown): boolean {
  return (
    isFairleadError(error, 'HOST_OFFLINE') ||
    isFairleadError(error, 'OVERLOADED') ||
    isFairleadError(error, 'PAYLOAD_TOO_LARGE')
  );
}

/** A change is not taken back when its caller leaves. */
async function change(
  context: KindContext,
  { replyOf }: UnaryCall & { readonly shape: 'change' },
  call: DockerCall,
  timeoutMs: number | undefined,
): Promise<Reply<StreamKind>> {
  // The agent gives up an answer after 30 s, unless it streams it: then nothing but the bytes tells how it went.
  const isSlow = (call.timeoutMs ?? REQUEST_MS) > REQUEST_MS && call.body === undefined;
  const body = isSlow ? await slowly(context, call, timeoutMs) : await plainly(context, call, timeoutMs);
  return replyOf === undefined ? ({} as Reply<StreamKind>) : replyOf(body === '' ? undefined : parseDockerJson(body));
}

/** @returns Docker's answer as JSON. @throws FairleadError what Docker, or the agent, says */
export async function json(context: KindContext, call: DockerCall, options: AskOptions): Promise<unknown> {
  const { status, body } = await context.ask(hawserCall(call), options);
  if (status >= 400) throw answerFailure(status, body.toString('utf8'));
  return parseDockerJson(body.toString('utf8'));
}

async function plainly(context: KindContext, call: DockerCall, timeoutMs: number | undefined): Promise<string> {
  const { status, body } = await context.ask(hawserCall(call), { timeoutMs });
  const text = body.toString('utf8');
  if (status >= 400) throw answerFailure(status, text);
  return text;
}

async function slowly(
  context: KindContext,
  call: DockerCall,
  timeoutMs = call.timeoutMs ?? REQUEST_MS,
): Promise<string> {
  const bytes = context.transport.stream(hawserCall(call));
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = context.transport.clock.setTimeout(() => {
    reject(new FairleadError('TIMEOUT', `Docker did not answer within ${timeoutMs / 1000} s`));
  }, timeoutMs);
  try {
    const text = await Promise.race([wholeText(bytes), promise]);
    const refusal = refusalIn(text);
    if (refusal !== undefined) throw answerFailure(refusal.status, text);
    return text;
  } finally {
    timer.cancel();
    bytes.destroy();
  }
}

async function wholeText(bytes: HeldBytes): Promise<string> {
  const gathered = new Gathered(MAX_SLOW_ANSWER_BYTES);
  for await (const chunk of bytes as AsyncIterable<Buffer>) {
    if (!gathered.add(chunk)) throw new FairleadError('DOCKER_ERROR', "Docker's answer is too large");
  }
  return gathered.bytes().toString('utf8');
}

/** A call as a request to the agent. */
export function hawserCall({ method, path, query = {}, body }: DockerCall): HawserCall {
  const search = new URLSearchParams(Object.entries(query).map(([name, value]) => [name, String(value)])).toString();
  const target = search === '' ? path : `${path}?${search}`;
  if (body === undefined) return { method, path: target };
  return { method, path: target, headers: { 'Content-Type': 'application/json' }, json: JSON.stringify(body) };
}
