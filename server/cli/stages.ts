/** The stages of a rollout as they stand on a command line: `1,10%,50%,100%`, `tag:lab,100%`. */
import { InvalidArgumentError } from 'commander';

export type Stage = { hosts: number } | { percent: number } | { tag: string };

/** Parses stages, separated by commas. */
export function stages(text: string): Stage[] {
  return text.split(',').map((part) => stage(part.trim()));
}

function stage(text: string): Stage {
  const [, count, percent, tag] = /^(?:(\d{1,5})|(\d{1,3})%|tag:(.+))$/.exec(text) ?? [];
  if (count !== undefined && Number(count) > 0) return { hosts: Number(count) };
  if (percent !== undefined && Number(percent) >= 1 && Number(percent) <= 100) return { percent: Number(percent) };
  if (tag !== undefined) return { tag };
  throw new InvalidArgumentError('Stages are 5 (so many more hosts), 10% (of all) or tag:NAME, separated by commas.');
}

/** One of them, as it is typed. */
export function stageText(one: Stage): string {
  if ('hosts' in one) return String(one.hosts);
  return 'percent' in one ? `${one.percent}%` : `tag:${one.tag}`;
}

/** Parses how many hosts may fail: a number, or a part of all as `5%`. */
export function failures(text: string): number | string {
  if (/^\d{1,5}$/.test(text)) return Number(text);
  if (/^(100|[1-9]?\d)%$/.test(text)) return text;
  throw new InvalidArgumentError('It must be a number of hosts, or a part of them as 5%.');
}
