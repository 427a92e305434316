/** A second process of a benchmark and the calls the two make to each other. */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { keepYoungHeapSmall } from '../../shared/young-heap.ts';

/** What a peer process offers to the one that started it. */
// biome-ignore lint/suspicious/noExplicitAny: arguments cross as structured clones and are typed by the caller
export type Methods = Record<string, (argument: any) => unknown>;

type Result<M extends Methods, N extends keyof M> = Awaited<ReturnType<M[N]>>;

export interface Peer<M extends Methods> {
  readonly pid: number;
  call<N extends keyof M & string>(name: N, argument?: Parameters<M[N]>[0]): Promise<Result<M, N>>;
  close(): Promise<void>;
}

interface Answer {
  id: number;
  result?: unknown;
  error?: string;
}

/** Starts `test/bench/peers/<file>` in a process of its own. */
export function startPeer<M extends Methods>(file: string): Peer<M> {
  const child = fork(fileURLToPath(new URL(`peers/${file}`, import.meta.url)), { serialization: 'advanced' });
  const waiting = new Map<number, (answer: Answer) => void>();
  let nextId = 1;
  child.on('message', (answer: Answer) => {
    waiting.get(answer.id)?.(answer);
    waiting.delete(answer.id);
  });
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  void gone.then(() => {
    for (const [id, settle] of waiting) settle({ id, error: `the peer process ${file} ended` });
  });
  return {
    pid: child.pid ?? 0,
    call: (name, argument) =>
      new Promise((resolve, reject) => {
        const id = nextId++;
        waiting.set(id, (answer) => {
          if (answer.error !== undefined) reject(new Error(answer.error));
          else resolve(answer.result as never);
        });
        child.send({ id, name, argument });
      }),
    close: () => end(child, gone),
  };
}

async function end(child: ChildProcess, gone: Promise<void>): Promise<void> {
  child.kill('SIGKILL');
  await gone;
}

/** In the peer process: answers calls until the other process goes. */
export function serve(methods: Methods): void {
  keepYoungHeapSmall();
  process.on('message', async ({ id, name, argument }: { id: number; name: string; argument: unknown }) => {
    try {
      process.send?.({ id, result: await methods[name]?.(argument) });
    } catch (error) {
      process.send?.({ id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
    }
  });
  process.on('disconnect', () => process.exit(0));
}
