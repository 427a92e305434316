/** What every family of routes is given. */
import type { AnswerBudget } from './answer-budget.ts';
import type { DenialLog } from './denials.ts';
import type { ApiDeps } from './deps.ts';
import type { LiveStreams } from './live-streams.ts';
import type { WebSockets } from './web-sockets.ts';

export interface RouteContext {
  readonly deps: ApiDeps;
  readonly live: LiveStreams;
  readonly webSockets: WebSockets;
  readonly answers: AnswerBudget;
  /** To be told of denials that do not fail their request. */
  readonly denied: DenialLog;
}
