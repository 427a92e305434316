/** How a route answers with an error. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { PROBLEM_TYPE, problemOf } from '../problem.ts';

/** Answers `error` and logs it if nobody foresaw it. */
export function answerProblem(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const problem = problemOf(error, request.id);
  if (problem.status >= 500 && problem.code === 'INTERNAL') request.log.error({ err: error }, 'request failed');
  if (problem.retryAfter !== undefined) reply.header('retry-after', String(problem.retryAfter));
  if (problem.status === 401) reply.header('www-authenticate', reply.getHeader('www-authenticate') ?? 'Bearer');
  reply.code(problem.status).header('content-type', PROBLEM_TYPE);
  // As text, so that no response schema of the route takes a field away.
  return reply.serializer((text: string) => text).send(JSON.stringify(problem));
}
