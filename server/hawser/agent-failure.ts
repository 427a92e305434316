/** What an agent of Hawser says that went wrong, as our own errors. */
import { FairleadError } from '../../shared/errors.ts';

/** An answer of a sort that was not asked for. */
export function misplaced(type: string): FairleadError {
  return new FairleadError('MESSAGE_INVALID', `the agent answered with ${type}, which is no answer to this`);
}

/** What the agent says that Docker, or the agent itself, did not do. */
export function agentFailure(code: string | undefined, text: string): FairleadError {
  const clean = text.replace(/\p{Cc}+/gu, ' ').slice(0, 500);
  if (/context deadline exceeded|Client\.Timeout|timeout awaiting/i.test(text)) {
    return new FairleadError('TIMEOUT', 'Docker did not answer within the 30 s that an agent of Hawser waits');
  }
  if (code === 'DOCKER_ERROR') return new FairleadError('DOCKER_UNREACHABLE', `the agent of Hawser says: ${clean}`);
  if (code === 'SESSION_LIMIT') return new FairleadError('OVERLOADED', `the agent of Hawser says: ${clean}`);
  const status = /failed: (\d{3}) - /.exec(text)?.[1];
  if (status === '404') return new FairleadError('CONTAINER_NOT_FOUND', `the agent of Hawser says: ${clean}`);
  if (status === '409') return new FairleadError('CONFLICT', `the agent of Hawser says: ${clean}`);
  return new FairleadError('DOCKER_ERROR', `the agent of Hawser says: ${clean}`);
}
