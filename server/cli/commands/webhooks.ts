/** `webhook`: who gets events posted. */
import type { Command } from 'commander';
import { path } from '../api-client.ts';
import type { CreatedWebhook, WebhookView } from '../api-types.ts';
import { act, type Cli, collect } from '../commander.ts';
import { relative } from '../format.ts';
import { write } from '../io.ts';
import { print, printRows } from '../output.ts';
import { facts } from '../table.ts';

const WEBHOOKS = '/api/v1/webhooks';

interface CreateOptions {
  name?: string;
  type?: string[];
  host?: string[];
  tag?: string[];
}

export function addWebhook(root: Command, cli: Cli): void {
  const webhook = root.command('webhook').description('URLs that events are posted to');
  const create = webhook
    .command('create')
    .description('post events to a URL from now on; the secret that signs them is shown this once')
    .argument('<url>', 'https or http, without user and password')
    .option('--name <text>', 'what it is for, for the list')
    .option(
      '--type <type>',
      'only container.start, container (all of its family) or container.exec*; may repeat',
      collect,
    )
    .option('--host <host>', 'only of this host; may repeat', collect)
    .option('--tag <tag>', 'only of hosts with this tag; may repeat', collect);
  act<CreateOptions, [string]>(create, cli, async ({ api, io, options }, url) => {
    const { name, type, host, tag } = options;
    const made = await api.post<CreatedWebhook>(WEBHOOKS, {
      url,
      ...(name === undefined ? {} : { name }),
      ...(type === undefined ? {} : { types: type }),
      ...(host === undefined ? {} : { hosts: host }),
      ...(tag === undefined ? {} : { tags: tag }),
    });
    await print(io, options, made, ({ id, secret }) =>
      facts([
        ['id', id],
        ['secret', secret],
      ]),
    );
  });
  addRest(webhook, cli);
}

function addRest(webhook: Command, cli: Cli): void {
  const list = webhook.command('ls').description('list webhooks, and how it goes');
  act(list, cli, async ({ api, io, options }) => {
    const now = io.now();
    await printRows(io, options, await api.list<WebhookView>(WEBHOOKS), [
      ['ID', ({ id }) => id],
      ['NAME', ({ name }) => name ?? undefined],
      ['URL', ({ url }) => url],
      ['EVENTS', ({ types }) => types?.join(', ') ?? 'all'],
      ['HOSTS', ({ hosts, tags }) => [...(hosts ?? []), ...(tags ?? [])].join(', ') || 'all'],
      [
        'STATE',
        ({ state, failingSince }) => [state, state === 'ok' ? undefined : relative(failingSince, now)].join(' ').trim(),
      ],
      ['BEHIND', ({ behind }) => behind],
      ['DELIVERED', ({ deliveredAt }) => relative(deliveredAt, now)],
      ['ERROR', ({ error }) => error ?? undefined],
    ]);
  });

  const remove = webhook.command('rm').description('remove a webhook').argument('<id>');
  act<object, [string]>(remove, cli, async ({ api }, id) => {
    await api.call('DELETE', path`/api/v1/webhooks/${id}`);
  });

  const test = webhook.command('test').description('post an event of type webhook.test to it').argument('<id>');
  act<object, [string]>(test, cli, async ({ api, io }, id) => {
    await api.post(path`/api/v1/webhooks/${id}/test`);
    await write(io.stdout, 'it was taken\n');
  });
}
