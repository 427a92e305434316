/**
 * Command-line flags made from a schema: one TypeBox object says what each flag is called, means and accepts, and both
 * the parser's options and the typed configuration come from it. Every flag can be set by `FAIRLEAD_<FLAG>` too.
 */
import Type, { type Static, type TObject, type TSchema } from 'typebox';
import { FairleadError } from './errors.ts';
import { fits } from './validate.ts';

const MAX_QUOTED_CHARS = 128;

/** What a flag's schema may say besides its type. A flag without `default` must be optional, or given. */
export interface FlagOptions {
  readonly description: string;
  /** What the value is, for the help: `HOST:PORT`. */
  readonly metavar?: string;
  /** What a value that fits is like, for errors. */
  readonly expects?: string;
}

/** One flag, in the terms of a command-line parser. */
export interface Flag {
  /** Its name in the schema, and under which a parser states its value: `apiListen`. */
  readonly key: string;
  /** `--api-listen` */
  readonly name: string;
  /** `--api-listen <host:port>` */
  readonly syntax: string;
  /** With the default and the environment variable. */
  readonly description: string;
  /** `FAIRLEAD_API_LISTEN` */
  readonly env: string;
  /** May be given several times, and takes several values separated by commas. */
  readonly repeatable: boolean;
}

/** The parts of TypeBox schemas that flags are made from. */
interface FlagSchema {
  readonly type?: string;
  readonly enum?: readonly unknown[];
  readonly default?: unknown;
  readonly description?: string;
  readonly metavar?: string;
  readonly expects?: string;
}

/** A flag that is one of some words. Not a union of literals: made from a list, its type would be `never`. */
export function choice<const C extends string[]>(
  choices: readonly [...C],
  options: FlagOptions & { readonly default: C[number] },
) {
  return Type.Enum<C>(choices, { ...options });
}

/** The flag of every process that logs. */
export const LogLevel = choice(['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'], {
  description: 'how much is logged',
  default: 'info',
});
export type LogLevel = Static<typeof LogLevel>;

/** The flags of `schema`, in its order. */
export function flagsOf(schema: TObject): Flag[] {
  return Object.entries(schema.properties).map(([key, property]) => toFlag(key, property as FlagSchema));
}

/**
 * The configuration that flags and environment give together; flags win, then the environment, then defaults.
 * @param given what the parser found: texts, arrays of texts, and true for flags without a value
 * @param env the environment; an empty variable counts as absent
 * @throws FairleadError VALIDATION that names the flag or variable and says what it expects
 */
export function readFlags<S extends TObject>(
  schema: S,
  given: Readonly<Record<string, unknown>>,
  env: Readonly<Record<string, string | undefined>>,
): Static<S> {
  const config: Record<string, unknown> = {};
  for (const flag of flagsOf(schema)) {
    const property = schema.properties[flag.key] as TSchema & FlagSchema;
    const value = chosen(flag, property, given[flag.key], env[flag.env]);
    if (value !== undefined) config[flag.key] = value;
    else if (schema.required?.includes(flag.key)) throw new FairleadError('VALIDATION', `${flag.name} is missing`);
  }
  return config as Static<S>;
}

function toFlag(key: string, schema: FlagSchema): Flag {
  const words = key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  const env = `FAIRLEAD_${words.replaceAll('-', '_').toUpperCase()}`;
  const choices = choicesOf(schema);
  const metavar = schema.metavar ?? (choices === undefined ? 'value' : choices.join('|'));
  const notes = [...(isShown(schema.default) ? [`default: ${String(schema.default)}`] : []), `env: ${env}`];
  return {
    key,
    name: `--${words}`,
    syntax: schema.type === 'boolean' ? `--${words}` : `--${words} <${metavar}>`,
    description: `${schema.description ?? ''} (${notes.join(', ')})`,
    env,
    repeatable: schema.type === 'array',
  };
}

function isShown(value: unknown): boolean {
  return typeof value === 'number' || (typeof value === 'string' && value !== '');
}

function choicesOf(schema: FlagSchema): string[] | undefined {
  return schema.enum?.map(String);
}

function chosen(flag: Flag, schema: TSchema & FlagSchema, given: unknown, variable: string | undefined): unknown {
  const fromFlag = given !== undefined;
  const raw = fromFlag ? given : variable === '' ? undefined : variable;
  if (raw === undefined) return schema.default;
  const value = coerce(schema, raw);
  if (fits(schema, value)) return value;
  const source = fromFlag ? flag.name : flag.env;
  throw new FairleadError('VALIDATION', `${source} ${quote(raw)} is not valid: it must be ${expected(schema)}`);
}

/** `raw` in the type that the schema asks for, or as it is if it cannot be that. */
function coerce(schema: FlagSchema, raw: unknown): unknown {
  if (schema.type === 'array') return (Array.isArray(raw) ? raw : [raw]).flatMap((text) => split(String(text)));
  if (typeof raw !== 'string') return raw;
  if (schema.type === 'integer' || schema.type === 'number') return /^-?\d+(\.\d+)?$/.test(raw) ? Number(raw) : raw;
  if (schema.type !== 'boolean') return raw;
  const text = raw.toLowerCase();
  if (['true', '1', 'on', 'yes'].includes(text)) return true;
  return ['false', '0', 'off', 'no'].includes(text) ? false : raw;
}

function split(list: string): string[] {
  return list
    .split(',')
    .map((entry) => entry.trim())
    .filter((entry) => entry !== '');
}

function expected(schema: FlagSchema): string {
  if (schema.expects !== undefined) return schema.expects;
  const choices = choicesOf(schema);
  if (choices !== undefined) return `one of ${choices.join(', ')}`;
  if (schema.type === 'boolean') return 'true or false';
  return schema.type === 'integer' ? 'a whole number' : (schema.metavar ?? `of type ${schema.type}`);
}

/** A value as errors show it: cut, and without the tokens that a person may have put into the wrong place. */
function quote(raw: unknown): string {
  const text = (Array.isArray(raw) ? raw.join(',') : String(raw)).replace(/\bfl[ae]1\.[A-Za-z0-9_-]*/g, '[token]');
  return JSON.stringify(text.length > MAX_QUOTED_CHARS ? `${text.slice(0, MAX_QUOTED_CHARS)}…` : text);
}
