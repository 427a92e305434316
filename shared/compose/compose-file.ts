/**
 * What is known of a Compose file before any Compose has seen it: that it is whole, and that it needs nothing which is not
 * there. A file is all that a host is sent: it has no directory around it, and what would be read from one, or from the
 * host's own files, is refused and not guessed.
 */
import { FairleadError } from '../errors.ts';
import { MAX_COMPOSE_CHARS, ServiceName } from '../messages/stack.ts';
import { fits } from '../validate.ts';
import { MAX_SERVICES } from './limits.ts';
import { readYaml, type YamlPath } from './yaml.ts';

const WHAT = 'the Compose file';

/** What a service may not have, and what to do instead. */
const REFUSED_OF_SERVICE: Readonly<Record<string, string>> = {
  build: 'there is nothing to build from: build the image elsewhere and name it by image',
  env_file: 'there are no files beside it: put the variables under environment, or into the env of the stack',
  label_file: 'there are no files beside it: put the labels under labels',
  credential_spec: 'it would read files of the host',
  provider: 'it would run programs of the host',
  use_api_socket: "it would hand the host's Docker to the container past its policy",
};

/** … and the whole file. */
const REFUSED_OF_FILE: Readonly<Record<string, string>> = {
  include: 'there are no files beside it: put what they hold into this one',
  models: 'it would run programs of the host',
};

export interface ComposeFile {
  /** The names of its services, in their order. */
  readonly services: readonly string[];
}

/**
 * Checks a file as it is written, with its variables not yet put in.
 * @throws FairleadError VALIDATION, PAYLOAD_TOO_LARGE, with the line where one is to blame
 */
export function checkCompose(text: string): ComposeFile {
  if (text.length > MAX_COMPOSE_CHARS) {
    throw new FairleadError('PAYLOAD_TOO_LARGE', `${WHAT} is larger than ${MAX_COMPOSE_CHARS / 1024} KiB`);
  }
  const file = readYaml(text, WHAT);
  const refuse: Refuse = (path, why) => {
    return new FairleadError('VALIDATION', `${WHAT} is not valid at line ${file.lineOf(path)}: ${named(path)}${why}`);
  };
  return check(file.value, { refuse, isForeign: isRelative });
}

/**
 * Checks what Compose has made of a file: variables are put in, and paths that were relative are below `directory`.
 * @param text JSON, or YAML
 * @throws FairleadError VALIDATION
 */
export function checkResolved(text: string, directory: string): ComposeFile {
  const what = 'what Compose makes of the file';
  const refuse: Refuse = (path, why) => {
    return new FairleadError('VALIDATION', `${WHAT} is not valid once its variables are put in: ${named(path)}${why}`);
  };
  const isForeign = (source: string) =>
    isRelative(source) || source === directory || source.startsWith(`${directory}/`);
  return check(text.startsWith('{') ? readJson(text, what) : readYaml(text, what).value, { refuse, isForeign });
}

function readJson(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new FairleadError('VALIDATION', `${what} is not JSON`, { cause });
  }
}

type Refuse = (path: YamlPath, why: string) => FairleadError;

interface Rules {
  /** Makes the error for what stands at a path. */
  readonly refuse: Refuse;
  /** Whether a path to bind is none of the host's own. */
  readonly isForeign: (source: string) => boolean;
}

function named(path: YamlPath): string {
  return path.length === 0 ? '' : `${path.join('.')}: `;
}

function check(value: unknown, rules: Rules): ComposeFile {
  const { refuse } = rules;
  const top = mapping(value, [], refuse);
  refuseKeys(top, REFUSED_OF_FILE, [], refuse);
  if (top['services'] === undefined) throw refuse([], 'there are no services in it');
  const services = mapping(top['services'], ['services'], refuse);
  const names = Object.keys(services);
  if (names.length === 0) throw refuse(['services'], 'there are no services in it');
  if (names.length > MAX_SERVICES) throw refuse(['services'], `there are more than ${MAX_SERVICES} services in it`);
  for (const name of names) {
    if (!fits(ServiceName, name)) {
      throw refuse(['services', name], 'a service is named by letters, digits, and . _ - inside of its name');
    }
    checkService(mapping(services[name], ['services', name], refuse), ['services', name], rules);
  }
  for (const family of ['configs', 'secrets']) checkFiles(top[family], family, refuse);
  return { services: names };
}

function checkService(service: Record<string, unknown>, path: YamlPath, { refuse, isForeign }: Rules): void {
  refuseKeys(service, REFUSED_OF_SERVICE, path, refuse);
  const { extends: base, volumes } = service;
  if (typeof base === 'object' && base !== null && 'file' in base) {
    throw refuse([...path, 'extends', 'file'], 'there are no files beside it');
  }
  if (volumes === undefined || volumes === null) return;
  if (!Array.isArray(volumes)) throw refuse([...path, 'volumes'], 'it must be a list');
  for (const [index, volume] of volumes.entries()) {
    const source = bindSource(volume);
    if (source === undefined || !isForeign(source)) continue;
    throw refuse(
      [...path, 'volumes', index],
      'it binds a path that is not absolute, and there is no directory beside the file: give an absolute path of the ' +
        'host, or a named volume',
    );
  }
}

/** The path that a volume binds, or undefined if it is a named volume, an anonymous one or none at all. */
function bindSource(volume: unknown): string | undefined {
  if (typeof volume === 'string') {
    const [source = '', target] = volume.split(':');
    return target !== undefined && /^[./~]/.test(source) ? source : undefined;
  }
  if (typeof volume !== 'object' || volume === null) return undefined;
  const { type, source } = volume as { type?: unknown; source?: unknown };
  if (typeof source !== 'string') return undefined;
  // With a variable in it, what it is shows when that is put in.
  return type === 'bind' || /^[./~]/.test(source) ? source : undefined;
}

function isRelative(source: string): boolean {
  return !source.startsWith('/') && !source.startsWith('$');
}

function checkFiles(family: unknown, name: string, refuse: Refuse): void {
  if (family === undefined || family === null) return;
  for (const [key, value] of Object.entries(mapping(family, [name], refuse))) {
    if (typeof value !== 'object' || value === null || !('file' in value)) continue;
    const instead = name === 'configs' ? 'content' : 'environment';
    throw refuse([name, key, 'file'], `there are no files beside it: give ${instead}`);
  }
}

function refuseKeys(
  value: Record<string, unknown>,
  refused: Readonly<Record<string, string>>,
  path: YamlPath,
  refuse: Refuse,
): void {
  for (const [key, why] of Object.entries(refused)) {
    const found = value[key];
    // Nothing for a value may be a trick: what is merged in beside it counts for other readers.
    if (found !== undefined && found !== false) throw refuse([...path, key], why);
  }
}

function mapping(value: unknown, path: YamlPath, refuse: Refuse): Record<string, unknown> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw refuse(path, 'it must be a mapping');
}
