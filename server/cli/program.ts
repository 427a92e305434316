/** The CLI's command line, and one run of it. */
import { Command, CommanderError, Option } from 'commander';
import { printable } from '../../shared/printable.ts';
import { VERSION } from '../../shared/version.ts';
import type { Cli } from './commander.ts';
import { addAgent } from './commands/agents.ts';
import { addAttach } from './commands/attach.ts';
import { addAudit } from './commands/audit.ts';
import { addBackup } from './commands/backup.ts';
import { addBulk } from './commands/bulk.ts';
import { addBundle } from './commands/bundle.ts';
import { addCa } from './commands/ca.ts';
import { addContainer } from './commands/containers.ts';
import { addCp } from './commands/cp.ts';
import { addDockerContext } from './commands/docker-context.ts';
import { addDoctor } from './commands/doctor.ts';
import { addEvents } from './commands/events.ts';
import { addExec } from './commands/exec.ts';
import { addForward } from './commands/forward.ts';
import { addHawser } from './commands/hawser.ts';
import { addHost, addInfo } from './commands/hosts.ts';
import { addImageContent } from './commands/image-content.ts';
import { addImage } from './commands/images.ts';
import { addLogin } from './commands/login.ts';
import { addLogs } from './commands/logs.ts';
import { addStats, addTop } from './commands/metrics.ts';
import { addNetwork } from './commands/networks.ts';
import { addOperator } from './commands/operators.ts';
import { addPs } from './commands/ps.ts';
import { addRelease } from './commands/releases.ts';
import { addRestore } from './commands/restore.ts';
import { addRollout } from './commands/rollouts.ts';
import { addStack } from './commands/stacks.ts';
import { addSupportBundle } from './commands/support-bundle.ts';
import { addApiToken, addToken } from './commands/tokens.ts';
import { addCert } from './commands/trust.ts';
import { addUser } from './commands/users.ts';
import { addVolumeContent } from './commands/volume-content.ts';
import { addVolumeTransfers } from './commands/volume-transfers.ts';
import { addVolume } from './commands/volumes.ts';
import { addWebhook } from './commands/webhooks.ts';
import { describeError, exitCodeOf, systemCode } from './errors.ts';
import { type CliIo, write } from './io.ts';

const HELP = `
The API token can also stand in the environment variable FAIRLEAD_API_TOKEN. Without one, and without --server,
what \`fairlead login\` stored is used. Exit codes: 0 done, 1 failed, 2 bad usage; exec: that of its process.`;

/**
 * Runs the command line `args` (without the program's name).
 * @returns the exit code; failures have been told on stderr
 */
export async function runCli(args: readonly string[], io: CliIo): Promise<number> {
  const cli: Cli = { io, exitCode: 0 };
  try {
    await buildProgram(cli).parseAsync(args, { from: 'user' });
    return cli.exitCode;
  } catch (error) {
    // Commander has printed its own errors; help and version end a run in the same way but are none.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    // The reader of our output left, as in \`fairlead logs … | head\`: nothing is wrong.
    if (systemCode(error) === 'EPIPE') return 0;
    await write(io.stderr, `fairlead: ${printable(describeError(error))}\n`);
    return exitCodeOf(error);
  }
}

/** The program with all its commands. */
export function buildProgram(cli: Cli): Command {
  const { env, stdout, stderr } = cli.io;
  const root = new Command('fairlead')
    .description('Administers a Fairlead installation over its REST API.')
    .version(VERSION)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => stdout.write(text),
      writeErr: (text) => stderr.write(text),
      outputError: (text, print) => print(text.replace(/^error: /, 'fairlead: ')),
    })
    .configureHelp({ showGlobalOptions: true })
    .addOption(fromEnv(new Option('--server <url>', "the server's API, https://HOST:8440"), env, 'FAIRLEAD_SERVER'))
    .addOption(
      fromEnv(
        new Option('--api-token-file <file>', 'a file with the API token; - for standard input'),
        env,
        'FAIRLEAD_API_TOKEN_FILE',
      ),
    )
    .addOption(
      fromEnv(
        new Option(
          '--api-ca <file>',
          'the CA of an API with a foreign certificate, or "system"; by default Fairlead\'s own, pinned by the token',
        ),
        env,
        'FAIRLEAD_API_CA',
      ),
    )
    .addOption(fromEnv(new Option('--json', 'print JSON for programs'), env, 'FAIRLEAD_JSON'))
    .addHelpText('after', HELP);
  for (const add of [
    addLogin,
    addHost,
    addInfo,
    addPs,
    addLogs,
    addEvents,
    addExec,
    addAttach,
    addCp,
    addContainer,
    addBulk,
    addForward,
    addDockerContext,
  ])
    add(root, cli);
  for (const add of [addImage, addImageContent, addNetwork]) add(root, cli);
  for (const add of [addVolume, addVolumeContent, addVolumeTransfers]) add(root, cli);
  for (const add of [addTop, addStats, addStack, addRollout]) add(root, cli);
  for (const add of [addToken, addApiToken, addHawser, addOperator, addUser, addCa, addCert, addAudit, addWebhook])
    add(root, cli);
  for (const add of [addAgent, addRelease]) add(root, cli);
  for (const add of [addDoctor, addSupportBundle, addBackup, addRestore, addBundle]) add(root, cli);
  return root;
}

/** Lets the environment set an option. Done here, as commander would read the environment of the process itself. */
function fromEnv(option: Option, env: CliIo['env'], name: string): Option {
  option.description += ` (${name})`;
  const value = env[name];
  if (!value) return option;
  return option.default(option.isBoolean() ? !/^(0|false|no|off)$/i.test(value) : value);
}
