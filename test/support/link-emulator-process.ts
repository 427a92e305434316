/** A link in a process of its own, so that it keeps its times while its ends are busy. */
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { Link, LinkChange, LinkOptions } from './link-emulator.ts';

/** What is asked of the process. */
export type LinkCall =
  | { readonly name: 'start'; readonly options: LinkOptions }
  | { readonly name: 'set'; readonly change: LinkChange }
  | { readonly name: 'freeze' | 'thaw' | 'cut' };

export interface LinkAnswer {
  readonly id: number;
  readonly port?: number | undefined;
  readonly error?: string;
}

const CHILD = fileURLToPath(new URL('link-emulator-child.ts', import.meta.url));

/** Starts a link that ends with `close`, and with this process. Each call is answered once the link is as it says. */
export async function startLink(options: LinkOptions): Promise<Link> {
  const child = fork(CHILD, { serialization: 'advanced' });
  const waiting = new Map<number, (answer: LinkAnswer) => void>();
  let lastId = 0;
  const ask = (call: LinkCall) =>
    new Promise<LinkAnswer>((resolve, reject) => {
      lastId += 1;
      waiting.set(lastId, (answer) => {
        if (answer.error === undefined) resolve(answer);
        else reject(new Error(`the link failed: ${answer.error}`));
      });
      if (child.connected) child.send({ id: lastId, call });
      else waiting.get(lastId)?.({ id: lastId, error: 'its process ended' });
    });
  child.on('message', (answer: LinkAnswer) => {
    waiting.get(answer.id)?.(answer);
    waiting.delete(answer.id);
  });
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  void gone.then(() => {
    for (const [id, settle] of waiting) settle({ id, error: 'its process ended' });
  });
  const { port = 0 } = await ask({ name: 'start', options });
  return {
    port,
    set: async (change: LinkChange) => void (await ask({ name: 'set', change })),
    freeze: async () => void (await ask({ name: 'freeze' })),
    thaw: async () => void (await ask({ name: 'thaw' })),
    cut: async () => void (await ask({ name: 'cut' })),
    async close() {
      child.kill('SIGKILL');
      await gone;
    },
  };
}
