/** Where the Docker Engine listens: a socket path, `unix://` or `tcp://`. */
import { FairleadError } from '../../shared/errors.ts';

/** A parsed address; `text` is how messages name it. */
export type DockerAddress =
  | { readonly text: string; readonly socketPath: string }
  | { readonly text: string; readonly host: string; readonly port: number };

const DEFAULT_TCP_PORT = 2375;

/**
 * Reads `/path`, `unix:///path` or `tcp://host[:port]`.
 * @throws FairleadError VALIDATION
 */
export function parseDockerAddress(text: string): DockerAddress {
  const path = text.startsWith('unix://') ? text.slice('unix://'.length) : text;
  if (path.startsWith('/')) return { text: path, socketPath: path };
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== 'tcp:' || url.hostname === '' || !['', '/'].includes(url.pathname) || url.username !== '') {
    throw new FairleadError(
      'VALIDATION',
      "Docker's address must be an absolute socket path, unix:///path or tcp://host:port",
    );
  }
  const port = url.port === '' ? DEFAULT_TCP_PORT : Number(url.port);
  // Node takes an IPv6 address without the brackets of the URL.
  return { text: `tcp://${url.hostname}:${port}`, host: url.hostname.replace(/^\[|\]$/g, ''), port };
}
