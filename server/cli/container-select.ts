/** Options that say which containers of which hosts are meant. */
import type { Command } from 'commander';
import type { Query } from './api-client.ts';
import { collect } from './commander.ts';

export interface SelectOptions {
  tag?: string[];
  name?: string[];
  image?: string[];
  state?: string[];
  label?: string[];
}

/** Adds the options to a command. */
export function selecting(command: Command): Command {
  return command
    .option('--tag <tag>', 'of all hosts with this tag; may repeat', collect)
    .option('--name <pattern>', 'of this name; * and ? stand for other characters; may repeat', collect)
    .option('--image <pattern>', 'of this image, likewise; may repeat', collect)
    .option('--state <state>', 'in this state (running, exited, …); may repeat', collect)
    .option('--label <label>', 'with this label, KEY or KEY=VALUE; may repeat', collect);
}

/** What was given of them. */
export function selection({ tag, name, image, state, label }: SelectOptions): Query & Record<string, string[]> {
  const given = Object.entries({ tag, name, image, state, label }).filter(([, values]) => values !== undefined);
  return Object.fromEntries(given) as Record<string, string[]>;
}
