/**
 * Hawser's Compose endpoint, served by what changes stacks here: the host's own Compose, which sees no more of Docker than the
 * host's policy permits, and a file that needs nothing beside it.
 */
import { randomUUID } from 'node:crypto';
import { basename } from 'node:path';
import { parseEnv } from 'node:util';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import {
  COMPOSE_OPERATIONS,
  type ComposeOperation,
  type ComposeReply,
  ComposeRequest,
} from '../../shared/hawser/compose.ts';
import * as kinds from '../../shared/messages/stack.ts';
import type { StackChangeKind } from '../../shared/stacks/change.ts';
import { fits, validate } from '../../shared/validate.ts';
import { requireKind } from '../policy/denied-kind.ts';
import type { StackParams } from '../stacks/steps.ts';
import type { HawserContext } from './context.ts';
import { MAX_COMPOSE_OUTPUT_CHARS } from './limits.ts';

const CHANGES: Readonly<Record<Exclude<ComposeOperation, 'ps' | 'logs'>, StackChangeKind>> = {
  up: kinds.stackDeploy,
  down: kinds.stackRemove,
  pull: kinds.stackPull,
  restart: kinds.stackRestart,
  stop: kinds.stackStop,
  start: kinds.stackStart,
};

/** Names under which Compose looks for its file. */
const FILE_NAMES: ReadonlySet<string> = new Set([
  'compose.yaml',
  'compose.yml',
  'docker-compose.yaml',
  'docker-compose.yml',
]);
const BINARY = 'base64:';
/** Lines of each container's log, where the request does not say how many. */
const DEFAULT_TAIL = 100;
const NO_COMPOSE =
  "Docker Compose is not installed. Please install either 'docker compose' (v2) or 'docker-compose' (v1)";

export interface ComposeCaller {
  readonly aborted: AbortSignal;
  /** Takes each line that Compose prints while it changes something; absent: nobody wants them before the end. */
  readonly line?: (line: string) => Promise<void>;
}

/** @throws FairleadError VALIDATION, which shows nothing of the body but what is wrong with it */
export function readComposeRequest(text: string): ComposeRequest {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // What the parser says of it quotes the body, which may hold secrets.
    throw new FairleadError('VALIDATION', text === '' ? 'unexpected end of JSON input' : 'it is not JSON');
  }
  return composeRequest(value);
}

/** @throws as `readComposeRequest` */
export function composeRequest(value: unknown): ComposeRequest {
  return validate(ComposeRequest, value, 'the request to Compose');
}

/** Whether it is one that there is. */
export function isOperation(operation: string): operation is ComposeOperation {
  return (COMPOSE_OPERATIONS as readonly string[]).includes(operation);
}

export function composeFailure(error: string, exitCode: number): ComposeReply {
  return { success: false, output: '', error, exitCode };
}

/** Does what is asked; what fails is in the reply. @throws the reason of `aborted`, and what is nobody's fault but the agent's */
export async function runCompose(
  request: ComposeRequest,
  context: HawserContext,
  caller: ComposeCaller,
): Promise<ComposeReply> {
  const { operation } = request;
  if (!isOperation(operation)) return composeFailure(`unsupported compose operation: ${operation}`, 1);
  try {
    const params = paramsOf(request);
    const isLook = operation === 'ps' || operation === 'logs';
    const output = isLook
      ? await look(operation, request, params, context, caller)
      : await change(CHANGES[operation], params, context, caller);
    return { success: true, output, exitCode: 0 };
  } catch (error) {
    caller.aborted.throwIfAborted();
    if (!isFairleadError(error)) throw error;
    if (isFairleadError(error, 'UNSUPPORTED') && /has no Compose/.test(error.message)) {
      return composeFailure(`${NO_COMPOSE}: ${error.message}`, 1);
    }
    return composeFailure(`${error.code}: ${error.message}`, isFairleadError(error, 'TIMEOUT') ? -1 : 1);
  }
}

async function look(
  what: 'ps' | 'logs',
  { options }: ComposeRequest,
  { changeId: _, ...params }: StackParams,
  { policy, stacks }: HawserContext,
  { aborted }: ComposeCaller,
): Promise<string> {
  if (what === 'ps') {
    requireKind(policy, kinds.stackStatus);
    return await stacks.look(kinds.stackStatus, { what }, params, aborted);
  }
  requireKind(policy, kinds.stackLogs);
  return await stacks.look(kinds.stackLogs, { what, tail: tailOf(options?.tail) }, params, aborted);
}

function tailOf(tail: string | number | null | undefined): number | 'all' {
  if (tail === 'all') return 'all';
  const lines = Number(tail ?? DEFAULT_TAIL);
  if (!Number.isSafeInteger(lines) || lines < 0) {
    throw new FairleadError('VALIDATION', 'options.tail must be a number of lines, or all');
  }
  return lines;
}

/** @returns what Compose has printed, as far as it is kept */
async function change(
  kind: StackChangeKind,
  params: StackParams,
  { policy, stacks, log }: HawserContext,
  { aborted, line: onLine }: ComposeCaller,
): Promise<string> {
  requireKind(policy, kind);
  log.info({ kind: kind.name, stack: params.stack }, 'a Dockhand server changes a stack');
  let output = '';
  await stacks.change(kind, params, {
    aborted,
    ready: () => undefined,
    progress: async ({ line }) => {
      if (output.length < MAX_COMPOSE_OUTPUT_CHARS) output += `${line}\n`;
      await onLine?.(line);
    },
  });
  return output;
}

/** @throws FairleadError VALIDATION, UNSUPPORTED */
function paramsOf(request: ComposeRequest): StackParams {
  const { operation, projectName, services, serviceName, envVars, registries, pullPolicy } = request;
  if (!fits(kinds.StackName, projectName)) {
    throw new FairleadError('VALIDATION', 'projectName must be a name that Compose takes: a-z, 0-9, - and _');
  }
  if (request.build || request.noBuildCache) {
    throw new FairleadError('UNSUPPORTED', 'this agent builds no images for stacks: name an image that is built');
  }
  const only = serviceName ? [serviceName] : (services ?? []);
  const unfit = only.find((name) => !fits(kinds.ServiceName, name));
  if (unfit !== undefined) throw new FairleadError('VALIDATION', 'services must be names of services');
  const compose = fileOf(request);
  const env = { ...dotEnv(request.files ?? {}), ...envVars };
  if (!fits(kinds.StackEnv, env)) throw new FairleadError('VALIDATION', 'envVars are no variables that Compose takes');
  return {
    ...{ stack: projectName, changeId: randomUUID(), env, only: [...new Set(only)] },
    ...(compose === undefined ? {} : { compose }),
    ...(operation === 'up' ? { pull: pullPolicy === 'always', noDeps: Boolean(serviceName) } : {}),
    ...(operation === 'up' ? { recreate: request.forceRecreate === true } : {}),
    ...(operation === 'down' ? { volumes: request.removeVolumes === true } : {}),
    logins: (registries ?? []).map(({ url, username, password }) => ({ registry: url, user: username, password })),
  };
}

/** The Compose file: itself, or among the files that come with it. @throws FairleadError UNSUPPORTED for more than one */
function fileOf({ composeFile, composeFileName, composeFileNames, files }: ComposeRequest): string | undefined {
  if ((composeFileNames ?? []).length > 1) {
    throw new FairleadError('UNSUPPORTED', 'this agent takes one Compose file: merge them by docker compose config');
  }
  if (composeFile) return composeFile;
  const wanted = composeFileName ?? composeFileNames?.[0];
  const found = Object.entries(files ?? {}).find(([path]) =>
    wanted ? path === wanted || path === basename(wanted) : FILE_NAMES.has(path),
  );
  return found === undefined ? undefined : textOf(found[1]);
}

/**
 * The variables of a file `.env` beside the Compose file. Of other files nothing is written here: a Compose file that needs one
 * is refused for that.
 */
function dotEnv(files: Readonly<Record<string, string>>): Record<string, string> {
  const content = files['.env'];
  if (content === undefined) return {};
  const variables: Record<string, string> = {};
  for (const [name, value] of Object.entries(parseEnv(textOf(content)))) {
    // Compose would put variables in; nothing is guessed here.
    if (value?.includes('$')) {
      throw new FairleadError('UNSUPPORTED', `the variable ${name} of .env has a $ in it: send it among envVars`);
    }
    if (value !== undefined) variables[name] = value;
  }
  return variables;
}

function textOf(content: string): string {
  return content.startsWith(BINARY) ? Buffer.from(content.slice(BINARY.length), 'base64').toString('utf8') : content;
}
