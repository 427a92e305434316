/** What commands that print logs are asked alike: which lines, and whether to go on. */
import { type Command, Option } from 'commander';
import { wholeNumber } from './commander.ts';

export interface LogOptions {
  follow?: boolean;
  tail?: number | 'all';
  since?: string;
  until?: string;
  timestamps?: boolean;
  resume: boolean;
}

const tailOf = (text: string) => (text === 'all' ? text : wholeNumber(0)(text));

/** @param says what its help says of --follow and --tail */
export function addLogOptions(logs: Command, says: { readonly follow: string; readonly tail: string }): Command {
  return logs
    .option('-f, --follow', says.follow)
    .addOption(new Option('-n, --tail <count>', says.tail).argParser(tailOf))
    .option('--since <time>', 'only after this time (RFC 3339 or Unix seconds), or this long ago (10m, 1h30m)')
    .option('--until <time>', 'only before this time, likewise')
    .option('-t, --timestamps', "put Docker's time before each line")
    .option('--no-resume', 'with -f: end when the host or the server is lost, in place of going on when it is back');
}
