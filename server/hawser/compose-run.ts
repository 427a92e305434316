/** One run of Compose by Hawser's endpoint for it: in one request, which the agent answers once all is over. */
import { stripVTControlCharacters } from 'node:util';
import { FairleadError } from '../../shared/errors.ts';
import { COMPOSE_PATH, type ComposeOperation, ComposeReply, type ComposeRequest } from '../../shared/hawser/compose.ts';
import { MAX_STACK_SECONDS, type StackEnv } from '../../shared/messages/stack.ts';
import type { ProgressLines } from '../../shared/stacks/progress.ts';
import { validate } from '../../shared/validate.ts';
import { isSince } from './agent-version.ts';
import type { Answer, HawserCall } from './ask.ts';
import { type KindContext, unsupported } from './kind.ts';

/** The release from which on agents give Compose more than the 30 s of any other request. */
const PATIENT_SINCE = [0, 2, 49] as const;
/** The first release that may tell what Compose says while it works; older ones leave the field aside. */
const STREAMS_SINCE = [0, 2, 50] as const;
/** Compose's own variables. Whoever deploys a stack cannot set them. */
const COMPOSE_ENV = { COMPOSE_ANSI: 'never', COMPOSE_PROGRESS: 'plain', COMPOSE_DISABLE_ENV_FILE: '1' };
const BROKEN_OFF = /signal: (?:killed|terminated)|context deadline exceeded|timed? ?out after/i;

export interface ComposeRun {
  readonly operation: ComposeOperation;
  readonly stack: string;
  /** Without it Compose 2 goes by the labels of what there is. */
  readonly compose?: string | undefined;
  readonly env?: StackEnv | undefined;
  readonly services?: readonly string[] | undefined;
}

/**
 * Runs it to its end, whoever leaves meanwhile: an agent cannot be told to end it.
 * @throws FairleadError DOCKER_ERROR with what Compose says, UNSUPPORTED without Compose, STREAM_INTERRUPTED if it was broken off
 */
export async function runCompose(context: KindContext, run: ComposeRun, lines: ProgressLines): Promise<void> {
  const { operation } = run;
  lines.begin();
  let isStreamed = false;
  const say = (text: string) => {
    for (const line of text.split('\n')) if (line.trim() !== '') lines.add(operation, stripVTControlCharacters(line));
  };
  const answer = await context.ask(callOf(run, context), {
    timeoutMs: MAX_STACK_SECONDS * 1000,
    // Each message is a line, without its end.
    onData: (bytes) => {
      isStreamed = true;
      say(bytes.toString('utf8'));
    },
  });
  const reply = replyOf(answer);
  if (!isStreamed) for (const text of new Set([reply.output, reply.error ?? ''])) say(text);
  if (answer.status < 300 && reply.success) return;
  throw failureOf(reply, run, lines.reason, context.facts.agentVersion);
}

function callOf(
  { operation, stack, compose, env = {}, services }: ComposeRun,
  { transport, facts }: KindContext,
): HawserCall {
  const isStreamed = transport.streamsOutput === true && isSince(facts.agentVersion, STREAMS_SINCE);
  const request: ComposeRequest = {
    ...{ operation, projectName: stack, envVars: { ...env, ...COMPOSE_ENV } },
    ...(compose === undefined ? {} : { composeFile: compose }),
    ...(services === undefined ? {} : { services: [...services] }),
    ...(isStreamed ? { streamOutput: true } : {}),
  };
  const headers = { 'Content-Type': 'application/json' };
  return { method: 'POST', path: COMPOSE_PATH, headers, json: JSON.stringify(request) };
}

/** @throws FairleadError UNSUPPORTED for an agent that has no such endpoint, DOCKER_ERROR for one that answers nonsense */
function replyOf({ status, body }: Answer): ComposeReply {
  let value: unknown;
  try {
    value = JSON.parse(body.toString('utf8'));
  } catch {
    value = undefined;
  }
  // Without the endpoint the request has gone on to Docker.
  if (status === 404) throw unsupported('stacks: its version has no endpoint for Compose');
  return validate(ComposeReply, value, "the answer of Hawser's endpoint for Compose", 'DOCKER_ERROR');
}

function failureOf(
  { exitCode, error = '', output }: ComposeReply,
  { operation, stack }: ComposeRun,
  reason: string,
  version: string,
): FairleadError {
  if (/Compose is not installed/i.test(error))
    return unsupported('stacks: there is no Docker Compose on it; install it');
  if (exitCode === -1 || BROKEN_OFF.test(error) || BROKEN_OFF.test(output)) return brokenOff(operation, stack, version);
  return new FairleadError('DOCKER_ERROR', `compose ${operation} failed: ${reason || `it ended with ${exitCode}`}`);
}

function brokenOff(operation: string, stack: string, version: string): FairleadError {
  const limit = isSince(version, PATIENT_SINCE)
    ? 'raise COMPOSE_TIMEOUT of the agent'
    : `raise REQUEST_TIMEOUT of the agent (its version, ${version}, gives Compose 30 s unless told otherwise), or take a newer one`;
  return new FairleadError(
    'STREAM_INTERRUPTED',
    `the agent of Hawser broke off compose ${operation} when its time was over: the stack ${stack} may be half changed. ` +
      `Asking for the same once more is safe, and goes on where this stopped; if it needs longer, ${limit}`,
  );
}
