/** What a host's policy says of ports that are to be forwarded, before anybody connects. */
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import { tcpOpen } from '../../shared/messages/tcp.ts';
import { permitsTarget, type TcpTarget, targetDenied } from '../../shared/tcp-targets.ts';
import { type ApiClient, path } from './api-client.ts';
import type { HostView } from './api-types.ts';

/**
 * Why no connection will come about; undefined if one may, or if it cannot be told now. The host itself has the last word.
 */
export async function denialOf(api: ApiClient, host: HostView, target: TcpTarget): Promise<FairleadError | undefined> {
  const { policy, capabilities, name, state } = host;
  if (state !== 'online') return undefined;
  if (policy === null || !capabilities.includes(tcpOpen.name)) {
    // Where the policy names a target the kind would be there, if nothing else stood against it.
    if (policy !== null && !permitsTarget(policy, target)) return targetDenied(target);
    return new FairleadError(
      'UNSUPPORTED',
      `${name} serves no connections to ports: see its policy, or upgrade its agent`,
    );
  }
  if (permitsTarget(policy, target)) return undefined;
  if (target.container === undefined) return targetDenied(target);
  const container = await ownName(api, host, target.container);
  const own = { container, port: target.port };
  return container === undefined || permitsTarget(policy, own) ? undefined : targetDenied(own);
}

/**
 * A container's own name, by which the policy goes, whatever the caller calls it; one that is not there yet will have the name
 * that it is called by. Undefined if nobody tells.
 */
async function ownName(api: ApiClient, host: HostView, container: string): Promise<string | undefined> {
  try {
    const { Name } = await api.get<{ Name?: string }>(path`/api/v1/hosts/${host.id}/containers/${container}`);
    return Name?.replace(/^\//, '') ?? container;
  } catch (error) {
    if (isFairleadError(error, 'CONTAINER_NOT_FOUND') || isFairleadError(error, 'NOT_FOUND')) return container;
    if (isFairleadError(error)) return undefined;
    throw error;
  }
}
