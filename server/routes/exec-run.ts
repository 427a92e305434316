/** A command in a container, run to its end: one question, one answer. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import Type, { type Static } from 'typebox';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import { containerExecRun, MAX_RUN_BYTES, MAX_RUN_MS } from '../../shared/messages/container-streams.ts';
import type { Trailer } from '../../shared/messages/kind.ts';
import type { LinkStream } from '../hosts/host-link.ts';
import { principalOf } from './access.ts';
import type { Api } from './app-types.ts';
import { audited } from './audited.ts';
import type { RouteContext } from './context.ts';
import { answerOfHosts, textOf } from './host-answer.ts';
import { EXEC_RUNS } from './limits.ts';
import { ContainerParams } from './schemas.ts';
import { Slots } from './slots.ts';

const DEFAULT_SECONDS = 60;
/** JSON may write a byte of the input as six. */
const MAX_BODY_BYTES = 6 * MAX_RUN_BYTES + 256 * 1024;

const { cmd, user, workdir, env } = containerExecRun.params.properties;
const Encoding = Type.Union([Type.Literal('utf8'), Type.Literal('base64')]);

const RunBody = Type.Object(
  {
    ...{ cmd, user, workdir, env },
    stdin: Type.Optional(
      Type.String({ description: `Its standard input, ${MAX_RUN_BYTES} bytes at most; none unless given` }),
    ),
    encoding: Type.Optional(Encoding),
    timeoutSeconds: Type.Optional(
      Type.Integer({ minimum: 1, maximum: MAX_RUN_MS / 1000, description: `${DEFAULT_SECONDS} unless given` }),
    ),
    maxOutputBytes: Type.Optional(
      Type.Integer({ minimum: 0, maximum: MAX_RUN_BYTES, description: 'Of each output; the rest is dropped' }),
    ),
  },
  { additionalProperties: false },
);

const RunAnswer = Type.Object({
  exitCode: Type.Integer(),
  stdout: Type.String(),
  stderr: Type.String(),
  truncated: Type.Boolean({ description: 'There was more of an output' }),
});

export function execRunRoute(api: Api, context: RouteContext): void {
  const { deps, links, live } = context;
  const slots = new Slots('commands', EXEC_RUNS);
  api.post(
    '/api/v1/hosts/:host/containers/:container/exec',
    {
      config: { access: 'operator', scope: 'host' },
      bodyLimit: MAX_BODY_BYTES,
      schema: {
        tags: ['containers'],
        summary: 'Runs a command in a container to its end',
        description:
          'What is in `stdin`, `stdout` and `stderr` is text, or with `encoding: "base64"` any bytes. A command that takes ' +
          'longer than `timeoutSeconds`, or whose client leaves, is ended.',
        params: ContainerParams,
        body: RunBody,
        response: { 200: RunAnswer },
      },
    },
    async (request, reply) => {
      const { host, container } = request.params;
      const { cmd, user } = request.body;
      const { params, stdin } = runParams(container, request.body);
      const detail = { cmd, tty: false, ...(user === undefined ? {} : { user }) };
      const facts = { action: 'container.exec', target: `${host}/${container}`, detail, isStrict: true };
      const stream = live.beginFor(reply.raw, principalOf(request));
      let release: (() => void) | undefined;
      let ended: Ended;
      try {
        const { hostId, run } = await audited(deps, request, facts, async () => {
          const link = await links.to(request, host, facts);
          release = slots.take(link.hostId);
          const run = await link.open(containerExecRun, params, { signal: stream.signal });
          return { hostId: link.hostId, run };
        });
        ended = { hostId, trailer: await endOf(run, stdin) };
      } finally {
        release?.();
        stream.release();
      }
      return await answer(context, request, reply, ended);
    },
  );
}

interface Ended {
  readonly hostId: string;
  readonly trailer: Trailer<typeof containerExecRun>;
}

/** Gives the command its input, and waits for its end. */
async function endOf(run: LinkStream<typeof containerExecRun>, stdin: Buffer): Promise<Ended['trailer']> {
  try {
    run.bytes.end(stdin);
    return await run.trailer;
  } catch (error) {
    run.reset(new FairleadError('CANCELLED', 'the answer is for nobody any more'));
    throw error;
  }
}

/** An answer takes a place among all answers only now: a command may take as long as many of them. */
async function answer(
  context: RouteContext,
  request: FastifyRequest<{ Body: Static<typeof RunBody> }>,
  reply: FastifyReply,
  { hostId, trailer }: Ended,
): Promise<FastifyReply> {
  const { encoding = 'utf8' } = request.body;
  try {
    return await answerOfHosts(context, request, reply, async (held) => [
      textOf(held, hostId, answerOf(trailer, encoding)),
    ]);
  } catch (error) {
    if (!isFairleadError(error, 'OVERLOADED')) throw error;
    // Not as it is: it would say that nothing was done.
    const detail = `the command ended with the exit code ${trailer.exitCode}, but there is no room for its answer`;
    throw new FairleadError('STREAM_INTERRUPTED', detail, { cause: error, repeat: 'unknown' });
  }
}

/** @throws FairleadError VALIDATION */
function runParams(id: string, body: Static<typeof RunBody>) {
  const { stdin: input, encoding = 'utf8', timeoutSeconds = DEFAULT_SECONDS, maxOutputBytes = MAX_RUN_BYTES } = body;
  const stdin = Buffer.from(input ?? '', encoding);
  if (stdin.byteLength > MAX_RUN_BYTES) {
    throw new FairleadError('VALIDATION', `stdin may have ${MAX_RUN_BYTES} bytes at most`);
  }
  const { cmd, user, workdir, env } = body;
  const options = {
    ...(user === undefined ? {} : { user }),
    ...(workdir === undefined ? {} : { workdir }),
    ...(env === undefined ? {} : { env }),
  };
  const limits = { timeoutMs: timeoutSeconds * 1000, maxOutputBytes };
  return { stdin, params: { id, cmd, ...options, stdin: input !== undefined, ...limits } };
}

function answerOf(
  { exitCode, stdout, stderr, truncated }: Trailer<typeof containerExecRun>,
  encoding: Static<typeof Encoding>,
): Static<typeof RunAnswer> {
  const text = (base64: string) => (encoding === 'base64' ? base64 : Buffer.from(base64, 'base64').toString('utf8'));
  return { exitCode, stdout: text(stdout), stderr: text(stderr), truncated };
}
