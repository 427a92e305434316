/** Events and their webhooks, made up for the tests of the routes. */
import type { ApiDeps } from '../../../../server/routes/deps.ts';
import { HOST, NOW } from './fake-host.ts';

type Called = (name: string, ...args: unknown[]) => Promise<void>;

const EVENT = {
  id: 8,
  timeMicros: NOW * 1000 + 5,
  hostId: HOST.id,
  host: HOST.name,
  type: 'container.exec_create',
  action: 'exec_create: sh',
  subject: 'c1',
  attributes: '{"name":"web"}',
};

const WEBHOOK = {
  ...{ id: 'w1', url: 'https://receiver.example/', state: 'ok' as const, createdBy: 'a', createdAt: NOW },
  ...{ failures: 0, behind: 0 },
};

/** @param called is told of what is asked */
export function fakeEvents(called: Called): Pick<ApiDeps, 'events' | 'webhooks'> {
  return {
    events: {
      last: 7,
      list: async (page, query) => {
        await called('events.list', page, query);
        return { items: [EVENT], nextCursor: null };
      },
      async *follow(query, { signal, ...following }) {
        await called('events.follow', query, following);
        yield { rows: [EVENT], upTo: EVENT.id };
        yield { rows: [], missing: { reason: 'retention', from: 9, to: 11 }, upTo: 11 };
        yield { rows: [], upTo: 12 };
        await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
      },
    },
    webhooks: {
      create: async (...args) => {
        await called('webhooks.create', ...args);
        return { webhook: WEBHOOK, secret: 'shown once' };
      },
      list: async () => ({ items: [WEBHOOK] }),
      get: async () => WEBHOOK,
      remove: (...args) => called('webhooks.remove', ...args),
      test: (...args) => called('webhooks.test', ...args),
    },
  };
}
