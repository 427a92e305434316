/** What the server's answer to a request of this host means when it is none that was hoped for. */
import Type from 'typebox';
import { ERRORS, type ErrorCode, FairleadError } from '../../shared/errors.ts';
import { type PinnedAnswer, UnreachableError } from '../../shared/pinned-http.ts';
import { fits } from '../../shared/validate.ts';

const Problem = Type.Object({ code: Type.String(), detail: Type.Optional(Type.String()) });

/** The error that `answer` stands for. A code that this version does not know becomes INTERNAL. */
export function refusalOf(answer: PinnedAnswer, what: string): FairleadError {
  if (answer.status < 400 || !fits(Problem, answer.body)) {
    // Something in between answers, or a server that does not know the question.
    return new UnreachableError('other', `the answer (status ${answer.status}) is not one to ${what}`);
  }
  const { code, detail } = answer.body;
  const known: ErrorCode = Object.hasOwn(ERRORS, code) ? (code as ErrorCode) : 'INTERNAL';
  const retryAfterSeconds = Number(answer.headers['retry-after'] ?? Number.NaN);
  const options = Number.isFinite(retryAfterSeconds) ? { retryAfterSeconds } : {};
  return new FairleadError(known, `refused by the server: ${detail ?? ERRORS[known].title}`, options);
}
