/** A reader of server-sent events for tests. */
import type { IncomingMessage } from 'node:http';
import type { Api } from './http.ts';
import { type Cleanup, defer } from './tmp.ts';
import { waitFor } from './wait.ts';

export interface SseEvent {
  id: string;
  event: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into events of every type
  data: any;
  /** When it came, by performance.now(). */
  at: number;
}

class SseReader {
  readonly events: SseEvent[] = [];
  readonly response: IncomingMessage;
  /** As a browser knows it, of comments with an id, too. */
  lastId = '';
  comments = 0;
  ended = false;
  #rest = '';

  constructor(response: IncomingMessage) {
    this.response = response;
    response.setEncoding('utf8').on('data', (text: string) => this.#take(text));
    response
      .on('error', () => undefined)
      .on('close', () => {
        this.ended = true;
      });
  }

  /** Waits for the first event that fits. */
  async next(what: string, fits: (event: SseEvent) => boolean, timeoutMs = 5_000): Promise<SseEvent> {
    const context = () => JSON.stringify(this.events.map(({ id, event }) => `${id} ${event}`));
    return await waitFor(what, () => this.events.find(fits), { timeoutMs, context });
  }

  close(): void {
    this.response.destroy();
  }

  #take(text: string): void {
    const blocks = (this.#rest + text).split('\n\n');
    this.#rest = blocks.pop() ?? '';
    for (const block of blocks) this.#block(block);
  }

  #block(block: string): void {
    const fields = new Map<string, string>();
    for (const line of block.split('\n')) {
      if (line.startsWith(':')) this.comments += 1;
      const [, name = '', value = ''] = /^(\w+): (.*)$/.exec(line) ?? [];
      fields.set(name, value);
    }
    this.lastId = fields.get('id') ?? this.lastId;
    const data = fields.get('data');
    if (data === undefined) return;
    this.events.push({
      id: this.lastId,
      event: fields.get('event') ?? '',
      data: JSON.parse(data),
      at: performance.now(),
    });
  }
}

/** Opens a stream of events and waits for its head. */
export async function followEvents(
  cleanup: Cleanup,
  api: Api,
  path: string,
  options: { token?: string; lastId?: string } = {},
): Promise<SseReader> {
  const headers = {
    accept: 'text/event-stream',
    ...(options.lastId === undefined ? {} : { 'last-event-id': options.lastId }),
  };
  const response = await api.open('GET', path, {
    headers,
    ...(options.token === undefined ? {} : { token: options.token }),
  });
  if (response.statusCode !== 200) throw new Error(`GET ${path} answered ${response.statusCode}`);
  const reader = new SseReader(response);
  defer(cleanup, () => reader.close());
  return reader;
}
