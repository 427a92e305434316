/** What Standard mode answers by itself, at the paths that Hawser has for it. */
import { isFairleadError } from '../../shared/errors.ts';
import { composeFailure, readComposeRequest, runCompose } from './compose.ts';
import { dockerVersion, type HawserContext, TOLD_VERSION } from './context.ts';
import type { HttpClient } from './http-client.ts';
import { MAX_COMPOSE_BODY_BYTES } from './limits.ts';

/** Open to everybody, and says no more than whether Docker answers. */
export function answerHealth(client: HttpClient, { docker }: HawserContext): void {
  const { reachable } = docker.state;
  client.answerJson(reachable ? 200 : 503, { status: reachable ? 'healthy' : 'unhealthy' });
}

/** @param startedAt by the monotonic clock, in ms */
export function answerInfo(client: HttpClient, context: HawserContext, startedAt: number): void {
  const { agentId, agentName, clock } = context;
  client.answerJson(200, {
    ...{ agentId, agentName, dockerVersion: dockerVersion(context), hawserVersion: TOLD_VERSION },
    ...{ mode: 'standard', uptime: Math.floor((clock.monotonic() - startedAt) / 1000) },
  });
}

/** @throws the reason for which the client is to be let go */
export async function answerCompose(client: HttpClient, context: HawserContext): Promise<void> {
  if (client.request.method !== 'POST') {
    return client.answerJson(405, { success: false, output: '', error: 'Method not allowed', exitCode: 0 });
  }
  const body = await client.wholeBody(MAX_COMPOSE_BODY_BYTES);
  const { aborted } = client;
  try {
    const request = readComposeRequest(body.toString('utf8'));
    const reply = await runCompose(request, context, { aborted });
    client.answerJson(reply.success ? 200 : 500, reply);
  } catch (error) {
    aborted.throwIfAborted();
    if (!isFairleadError(error, 'VALIDATION')) throw error;
    client.answerJson(400, composeFailure(`Invalid request body: ${error.message}`, 0));
  }
}
