/** Listening where the flags say, with errors that name them. */
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import type { FastifyInstance } from 'fastify';
import { FairleadError } from '../shared/errors.ts';
import type { ListenAddress } from './public-hosts.ts';

/** @throws FairleadError CONFLICT or VALIDATION that names the flag */
export async function listen(
  flag: string,
  address: ListenAddress,
  start: (address: ListenAddress) => Promise<number>,
): Promise<number> {
  try {
    return await start(address);
  } catch (cause) {
    const where = `${address.host}:${address.port}`;
    const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
    if (code === 'EADDRINUSE') {
      throw new FairleadError('CONFLICT', `${where} is in use by another program: choose another ${flag}`, { cause });
    }
    throw new FairleadError('VALIDATION', `cannot listen on ${where} (${String(code ?? cause)}): see ${flag}`, {
      cause,
    });
  }
}

/** @throws FairleadError as `listen` */
export async function requireFree(flag: string, address: ListenAddress): Promise<void> {
  const probe = createServer();
  await listen(flag, address, async (at) => {
    probe.listen({ host: at.host, port: at.port });
    await once(probe, 'listening');
    return at.port;
  });
  probe.close();
  await once(probe, 'close');
}

/** @returns the port */
export async function listenApi(api: FastifyInstance, { host, port }: ListenAddress): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    // Fastify takes the scheme for http whatever the server is.
    const listenTextResolver = (address: string) => `the API listens on ${new URL(address).host}`;
    api.listen({ host, port, listenTextResolver }, (error) => (error === null ? resolve() : reject(error)));
  });
  return (api.server.address() as AddressInfo).port;
}
