/** Joins a client's connection with Docker's, once Docker has handed it over: bare bytes both ways, each with an end of its own. */
import type { Duplex } from 'node:stream';
import { pump } from '../../shared/pump.ts';
import { answerHeaders, type DockerStream, FIELD, noAnswer } from './answer.ts';

/**
 * The head of an upgrade as it goes to a client that has asked for `protocol`.
 * @throws FairleadError DOCKER_ERROR for one that HTTP does not have
 */
export function upgradeHead({ reply }: DockerStream, protocol: string, requestId: string): string {
  const { status, reason, headers } = reply;
  if ((status !== 101 && status !== 200) || !FIELD.test(reason)) throw noAnswer();
  // With 200 an Engine that knows no 101 has handed the connection over; its clients know that, too.
  const upgrade = status === 101 ? `Connection: Upgrade\r\nUpgrade: ${protocol}\r\n` : '';
  const lines = answerHeaders(headers, requestId).map(([name, value]) => `${name}: ${value}\r\n`);
  return `HTTP/1.1 ${status} ${reason}\r\n${upgrade}${lines.join('')}\r\n`;
}

/**
 * Sends `head` and then bytes, both ways, until Docker has ended its half. Rejects when either side breaks off. The caller
 * closes the socket.
 */
export async function runTunnel(
  socket: Duplex,
  head: string,
  stream: DockerStream,
  signal: AbortSignal,
): Promise<void> {
  socket.write(head, 'latin1');
  const inbound = pump(socket, stream.bytes, signal).then(() => void stream.bytes.end());
  // Docker may end while the client still writes: what that fails with is a consequence. A client that breaks off is seen
  // by the other half as well, whose socket is the same.
  inbound.catch(() => undefined);
  await pump(stream.bytes, socket, signal);
  await stream.trailer;
}
