/** `hawser adopt`: hosts whose agent of Hawser gives way to fairlead-agent. */
import type { Command } from 'commander';
import { path } from '../api-client.ts';
import type { AdoptionView, OfferedAdoption } from '../api-types.ts';
import { act, type Cli, seconds } from '../commander.ts';
import { relative } from '../format.ts';
import { write } from '../io.ts';
import { print } from '../output.ts';
import { facts } from '../table.ts';

interface AdoptOptions {
  ttl?: number;
  status?: boolean;
  cancel?: boolean;
}

const STATES: Readonly<Record<AdoptionView['state'], string>> = {
  none: 'nothing is to take the host over',
  offered: 'a token waits for fairlead-agent',
  enrolled: 'fairlead-agent has enrolled, and is not connected',
  trying: 'fairlead-agent is connected, and does not serve the host yet',
  done: 'fairlead-agent has taken the host over',
};

export function addAdopt(hawser: Command, cli: Cli): void {
  const adopt = hawser
    .command('adopt')
    .description('have fairlead-agent take over a host of Hawser: the same host, with its name, tags and history')
    .argument('<host>')
    .option('--ttl <duration>', 'how long the token can be used: 90s, 30m, 12h, 7d (default: 1h)', seconds)
    .option('--status', 'say how far it is, and change nothing')
    .option('--cancel', 'take back what was handed out; the agent of Hawser goes on');
  act<AdoptOptions, [string]>(adopt, cli, async ({ api, io, options }, host) => {
    const url = path`/api/v1/hosts/${host}/adoption`;
    if (options.status === true) {
      const view = await api.get<AdoptionView>(url);
      return await print(io, options, view, () => status(view, io.now()));
    }
    if (options.cancel === true) {
      await api.call('DELETE', url);
      return await write(io.stdout, `Cancelled: ${host} stays with its agent of Hawser.\n`);
    }
    const made = await api.post<OfferedAdoption>(url, options.ttl === undefined ? {} : { ttlSeconds: options.ttl });
    await print(io, options, made, () => offer(made, io.now()));
  });
}

function status({ hostName, state, expiresAt, why }: AdoptionView, now: number): string {
  return facts([
    ['Host', hostName],
    ['State', STATES[state]],
    ...(why === null ? [] : ([['Why not', why]] as [string, string][])),
    ...(state === 'offered' && expiresAt !== null
      ? ([['Expires', `${expiresAt} (${relative(expiresAt, now)})`]] as [string, string][])
      : []),
  ]);
}

function offer(made: OfferedAdoption, now: number): string {
  return facts([
    ['Host', made.hostName],
    ['Token', made.token],
    ['Id', made.id],
    ['Expires', `${made.expiresAt} (${relative(made.expiresAt, now)})`],
    ['CA', made.caFingerprint],
  ]).concat(
    `\nOn ${made.hostName}, beside the agent of Hawser, which goes on meanwhile, run\n`,
    `  ${made.enrollCommand}\n`,
    '  fairlead-agent run\n',
    'or, in a checkout of Fairlead there, `npm run agent --` in place of `fairlead-agent`. Once that agent works, it serves the\n',
    `host, and the tokens of Hawser end: then remove the agent of Hawser. \`fairlead hawser adopt ${made.hostName} --status\`\n`,
    'says how far it is.\n',
  );
}
