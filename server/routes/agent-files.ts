/** The agent's executables, for machines that are to become hosts: public, since there is nothing secret in them. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import Type from 'typebox';
import { networkOf } from '../../shared/network.ts';
import type { Api } from './app-types.ts';
import type { RouteContext } from './context.ts';
import {
  AGENT_ARCHITECTURES,
  AGENT_FILES,
  AGENT_SYSTEMS,
  type AgentFileName,
  type AgentPlatform,
} from './deps/agent-files.ts';
import { AGENT_DOWNLOAD_MS, AGENT_DOWNLOADS, SEND_MS } from './limits.ts';
import { Slots } from './slots.ts';

const oneOf = <const T extends readonly string[]>(names: T) => Type.Enum([...names] as unknown as T);
const FileParams = Type.Object({
  os: oneOf(AGENT_SYSTEMS),
  arch: oneOf(AGENT_ARCHITECTURES),
  file: oneOf(Object.keys(AGENT_FILES) as AgentFileName[]),
});

export function agentFileRoutes(api: Api, { deps }: RouteContext): void {
  api.get(
    '/install.sh',
    {
      config: { access: 'public', scope: 'none' },
      schema: {
        tags: ['agents'],
        summary: 'The script that installs the agent, with the CA and the sums of the executables in it',
        produces: ['text/x-shellscript'],
      },
    },
    async (_request, reply) => reply.type('text/x-shellscript; charset=utf-8').send(await deps.installScript.text()),
  );

  const downloads = new Slots('downloads of agents', AGENT_DOWNLOADS);

  api.get(
    '/download/:os/:arch/:file',
    {
      config: { access: 'public', scope: 'none' },
      schema: {
        tags: ['agents'],
        summary: 'An executable of the agent, compressed or not, its SHA-256 or its signature',
        params: FileParams,
        produces: ['application/octet-stream'],
      },
    },
    async (request, reply) => {
      const { file, ...platform } = request.params as AgentPlatform & { file: AgentFileName };
      const release = downloads.take(networkOf(request.ip));
      // However little at a time the client takes: a place is nobody's for good.
      const deadline = deps.clock.setTimeout(() => reply.raw.destroy(), AGENT_DOWNLOAD_MS);
      const end = () => {
        deadline.cancel();
        release();
      };
      // Whatever becomes of the answer.
      if (reply.raw.closed) end();
      else reply.raw.once('close', end);
      return await sendFile(request, reply, await deps.agentFiles.open(platform, file), AGENT_FILES[file]);
    },
  );
}

async function sendFile(
  request: FastifyRequest,
  reply: FastifyReply,
  { handle, bytes, etag }: Awaited<ReturnType<RouteContext['deps']['agentFiles']['open']>>,
  contentType: string,
): Promise<FastifyReply> {
  reply.header('etag', etag).header('cache-control', 'no-cache');
  if (request.headers['if-none-match'] === etag) {
    await handle.close();
    return reply.code(304).send();
  }
  // A client that takes nothing for so long has gone.
  reply.raw.setTimeout(SEND_MS, () => reply.raw.destroy());
  return reply.type(contentType).header('content-length', bytes).send(handle.createReadStream());
}
