/** How a route answers with an error. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { type Asked, PROBLEM_TYPE, type Problem, problemOf } from '../problem.ts';

const KEY = 'idempotency-key';

/** What a request asks, for the error that answers it. */
export function askedBy({ method, headers, routeOptions }: FastifyRequest): Asked {
  const declared = (routeOptions?.schema?.headers as { properties?: object } | undefined)?.properties ?? {};
  return { method, hasKey: KEY in declared && headers[KEY] !== undefined };
}

/** Answers `error` and logs it if nobody foresaw it. */
export function answerProblem(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const problem = problemHead(error, request, reply);
  reply.header('content-type', PROBLEM_TYPE);
  return send(reply, problem);
}

/** As `answerProblem`, in words that Docker's clients show: they look for a `message`, in JSON that is called no more than that. */
export function answerDockerProblem(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const problem = problemHead(error, request, reply);
  reply.header('content-type', 'application/json');
  return send(reply, { message: `${problem.detail} (${problem.code})`, ...problem });
}

function problemHead(error: unknown, request: FastifyRequest, reply: FastifyReply): Problem {
  const problem = problemOf(error, request.id, askedBy(request));
  if (problem.status >= 500 && problem.code === 'INTERNAL') request.log.error({ err: error }, 'request failed');
  if (problem.retryAfter !== undefined) reply.header('retry-after', String(problem.retryAfter));
  if (problem.status === 401) reply.header('www-authenticate', reply.getHeader('www-authenticate') ?? 'Bearer');
  reply.code(problem.status);
  return problem;
}

function send(reply: FastifyReply, problem: Problem & { message?: string }): FastifyReply {
  // As text, so that no response schema of the route takes a field away.
  return reply.serializer((text: string) => text).send(JSON.stringify(problem));
}
