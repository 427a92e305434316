/** `container create`, `rename` and `prune`. */
import type { Command } from 'commander';
import { printable } from '../../../shared/printable.ts';
import { path } from '../api-client.ts';
import { act, type Cli, collect } from '../commander.ts';
import { type ContainerOptions, containerBody } from '../container-body.ts';
import { pairs } from '../docker-words.ts';
import { write } from '../io.ts';
import { printJson } from '../output.ts';
import { addPrune } from './prune.ts';

/** A little longer than the server gives a host for it. */
const CREATE_MS = 160_000;

interface CreateOptions extends ContainerOptions {
  name?: string;
  platform?: string;
}

export function addContainerMake(container: Command, cli: Cli): void {
  addCreate(container, cli);
  const rename = container
    .command('rename')
    .description('give a container another name')
    .argument('<host>')
    .argument('<container>')
    .argument('<name>');
  act<object, [string, string, string]>(rename, cli, async ({ api, io }, host, ref, name) => {
    await api.change('POST', path`/api/v1/hosts/${host}/containers/${ref}/rename`, { body: { name } });
    await write(io.stdout, `${name}\n`);
  });
  addPrune<{ ContainersDeleted: string[]; SpaceReclaimed: number }>(container, cli, {
    family: 'containers',
    what: () => 'all stopped containers',
    lines: (reply) => reply.ContainersDeleted,
    freed: (reply) => reply.SpaceReclaimed,
  });
}

function addCreate(container: Command, cli: Cli): void {
  const create = container
    .command('create')
    .description('make a container of an image that the host has, without starting it')
    .argument('<host>')
    .argument('<image>')
    .argument('[command...]', 'the command and its arguments; put -- before it')
    .option('--name <name>', 'its name (default: one of its own)')
    .option('--platform <os/arch>', 'of the image, where it is for several')
    .option('-e, --env <name=value>', 'an environment variable; NAME alone takes it from here; may repeat', collect)
    .option('--env-file <file>', 'environment variables, one a line; may repeat', collect)
    .option('-l, --label <key=value>', 'a label; may repeat', pairs)
    .option('-p, --publish <port>', '[[ADDRESS:]PORT:]PORT[/tcp|/udp]; may repeat', collect)
    .option('-v, --volume <volume>', 'NAME or /PATH:/PATH[:ro]; may repeat', collect)
    .option('--restart <policy>', 'no, always, unless-stopped or on-failure[:TIMES]')
    .option('--network <name>', 'a network, or none or host')
    .option('--entrypoint <program>', 'instead of that of the image')
    .option('--hostname <name>', 'of the container')
    .option('-u, --user <user>', 'as this user, user:group or uid')
    .option('-w, --workdir <dir>', 'in this directory of the container')
    .option('-t, --tty', 'give it a terminal')
    .option('-i, --interactive', 'keep its standard input open')
    .option('--privileged', 'let it do to the host what root may')
    .option('--config <file>', "Docker's own JSON of a container; what other options say counts before it")
    .addHelpText('after', '\nExample: fairlead container create my-host web:2 --name web -p 8080:80 -- serve --all');
  act<CreateOptions, [string, string, string[]]>(create, cli, async ({ api, io, options }, host, image, command) => {
    const { name, platform } = options;
    const made = await api.change<{ Id: string; Warnings: string[] }>('POST', path`/api/v1/hosts/${host}/containers`, {
      query: { name, platform },
      body: await containerBody(image, command, options, io),
      timeoutMs: CREATE_MS,
    });
    for (const warning of made.Warnings) await write(io.stderr, `fairlead: ${printable(warning)}\n`);
    if (options.json) return await printJson(io, made);
    await write(io.stdout, `${printable(made.Id)}\n`);
  });
}
