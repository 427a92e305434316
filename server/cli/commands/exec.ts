/** `exec`: runs a command in a container, with or without a terminal. */
import type { Command } from 'commander';
import { path } from '../api-client.ts';
import { act, type Cli, collect } from '../commander.ts';
import { runExec } from '../exec-session.ts';
import { terminalSize } from '../terminal.ts';

interface ExecOptions {
  interactive?: boolean;
  tty?: boolean;
  user?: string;
  workdir?: string;
  env?: string[];
}

export function addExec(root: Command, cli: Cli): void {
  const exec = root
    .command('exec')
    .description('run a command in a container; its exit code becomes that of this command')
    .argument('<host>')
    .argument('<container>')
    .argument('<command...>', 'the command and its arguments; put -- before it')
    .option('-i, --interactive', 'forward standard input')
    .option('-t, --tty', 'give it a terminal')
    .option('-u, --user <user>', 'as this user, user:group or uid')
    .option('-w, --workdir <dir>', 'in this directory of the container')
    .option('-e, --env <name=value>', 'with this environment variable; may repeat', collect)
    .addHelpText('after', '\nExample: fairlead exec -it my-host web -- sh');
  act<ExecOptions, [string, string, string[]]>(exec, cli, async ({ api, io, options }, host, container, command) => {
    const tty = options.tty === true;
    const stdin = options.interactive === true;
    const socket = await api.socket(path`/api/v1/hosts/${host}/containers/${container}/exec`, {
      query: {
        cmd: command,
        env: options.env,
        user: options.user,
        workdir: options.workdir,
        stdin: stdin ? undefined : 0,
        ...(tty ? { tty: 1, ...terminalSize(io) } : { separate: 1 }),
      },
    });
    try {
      cli.exitCode = await runExec(socket, io, { tty, stdin });
    } finally {
      socket.terminate();
    }
  });
}
