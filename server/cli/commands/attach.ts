/** `attach`: to a container's own process, which goes on when this ends. */
import type { Command } from 'commander';
import { path } from '../api-client.ts';
import { act, type Cli } from '../commander.ts';
import { runExec } from '../exec-session.ts';
import { terminalSize } from '../terminal.ts';

interface Inspected {
  Config?: { Tty?: boolean; OpenStdin?: boolean };
}

export function addAttach(root: Command, cli: Cli): void {
  const attach = root
    .command('attach')
    .description("attach to a container's own process; its exit code becomes that of this command")
    .argument('<host>')
    .argument('<container>')
    .option('--no-stdin', 'do not forward standard input')
    .option('--logs', 'with all that it has said before')
    .addHelpText('after', '\nIn a terminal Ctrl-P Ctrl-Q detaches; without one, Ctrl-C does. The container runs on.');
  act<{ stdin: boolean; logs?: boolean }, [string, string]>(
    attach,
    cli,
    async ({ api, io, options }, host, container) => {
      const at = path`/api/v1/hosts/${host}/containers/${container}`;
      const { Config = {} } = await api.get<Inspected>(at);
      const tty = Config.Tty === true;
      const stdin = options.stdin && Config.OpenStdin === true;
      const socket = await api.socket(`${at}/attach`, {
        query: {
          stdin: stdin ? undefined : 0,
          logs: options.logs ? 1 : undefined,
          ...(tty ? terminalSize(io) : { separate: 1 }),
        },
      });
      try {
        cli.exitCode = await runExec(socket, io, { tty, stdin });
      } finally {
        socket.terminate();
      }
    },
  );
}
