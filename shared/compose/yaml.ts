/** Reads YAML within limits that hold before anything is built of it, and tells at which line each part of it stands. */
import {
  Composer,
  type Document,
  isAlias,
  isCollection,
  isMap,
  isScalar,
  Lexer,
  LineCounter,
  Parser,
  visit,
  type YAMLMap,
} from 'yaml';
import { FairleadError } from '../errors.ts';
import { MAX_ALIASES, MAX_DEPTH, MAX_TOKENS } from './limits.ts';

/** What ends a line, and a comment with it, for one reader of YAML and not for another: keys could hide behind it. */
const STRANGE_BREAK = /\r(?!\n)|[\u0085\u2028\u2029]/;

/** A path into a document, by keys and indexes. */
export type YamlPath = readonly (string | number)[];

export interface YamlFile {
  readonly value: unknown;
  /** The line at which what stands at `path` begins, or the nearest thing around it; from 1 on. */
  lineOf(path: YamlPath): number;
}

/**
 * The one document in `text`.
 * @param what names it in errors
 * @throws FairleadError VALIDATION with the line, if it is none, or is made to keep its reader busy
 */
export function readYaml(text: string, what: string): YamlFile {
  const strange = text.search(STRANGE_BREAK);
  if (strange !== -1) {
    const line = text.slice(0, strange).split('\n').length;
    throw invalid(what, line, 'it has a line break that is one to some readers only: end lines by LF or CR LF');
  }
  const lines = new LineCounter();
  const document = compose(text, lines, what);
  const [error] = [...document.errors, ...document.warnings];
  if (error !== undefined) {
    // The text behind a line break points at the file with a caret, which only a terminal shows as it should be.
    const [message = ''] = error.message.split('\n');
    throw invalid(what, lines.linePos(error.pos[0]).line, message.replace(/ at line \d+, column \d+:?$/, ''));
  }
  visit(document, {
    Map: (_key, map) => requireOneReading(map, (place) => invalid(what, lines.linePos(place).line, AMBIGUOUS)),
  });
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: MAX_ALIASES });
  } catch (cause) {
    throw new FairleadError('VALIDATION', `${what} is not valid: its aliases stand for too much`, { cause });
  }
  return { value, lineOf: (path) => lines.linePos(offsetOf(document, path)).line };
}

function compose(text: string, lines: LineCounter, what: string): Document.Parsed {
  let tokens = 0;
  for (const _token of new Lexer().lex(text)) {
    tokens += 1;
    if (tokens > MAX_TOKENS) throw invalid(what, undefined, `it has more than ${MAX_TOKENS} parts`);
  }
  const parsed = [...new Parser(lines.addNewLine).parse(text)];
  for (const token of parsed) requireShallow(token, what);
  const documents = [
    ...new Composer({ merge: true, uniqueKeys: true, prettyErrors: false, logLevel: 'silent' }).compose(parsed),
  ];
  const [document, second] = documents;
  if (document === undefined) throw invalid(what, undefined, 'it is empty');
  if (second !== undefined) {
    throw invalid(
      what,
      lines.linePos(second.range[0]).line,
      'a second document begins here, and one is all it may have',
    );
  }
  return document;
}

const AMBIGUOUS =
  'its keys may be read in more than one way: give them as plain text, without tags or aliases, and merge once into one ' +
  'mapping, of a list if need be';

/**
 * Refuses what another reader of YAML may take for another key, or in another order: keys that are no plain text, and two
 * merges into one mapping, of which the first counts for some and the last for others.
 */
function requireOneReading(map: YAMLMap, ambiguous: (place: number) => FairleadError): void {
  let merges = 0;
  for (const { key } of map.items) {
    const place = isScalar(key) || isCollection(key) || isAlias(key) ? (key.range?.[0] ?? 0) : 0;
    if (!isScalar(key) || key.tag !== undefined) throw ambiguous(place);
    if (key.value === '<<' || typeof key.value === 'symbol') merges += 1;
    if (merges > 1) throw ambiguous(place);
  }
}

/** A token of the parser, as far as its depth is concerned. */
interface Nested {
  readonly value?: unknown;
  readonly items?: readonly { readonly key?: unknown; readonly value?: unknown }[];
}

/** Level by level: what is nested too deeply to be composed is too deep for recursion here as well. */
function requireShallow(token: unknown, what: string): void {
  let level: unknown[] = [token];
  for (let depth = 0; level.length > 0; depth += 1) {
    // Each collection is two levels here: itself and its items.
    if (depth > MAX_DEPTH) throw invalid(what, undefined, `it is nested more than ${MAX_DEPTH} deep`);
    level = level.flatMap((one) => {
      if (typeof one !== 'object' || one === null) return [];
      const { value, items = [] } = one as Nested;
      return [value, ...items.flatMap((item) => [item.key, item.value])].filter((each) => typeof each === 'object');
    });
  }
}

function offsetOf(document: Document.Parsed, path: YamlPath): number {
  let node: unknown = document.contents;
  let offset = document.contents?.range?.[0] ?? 0;
  for (const step of path) {
    if (isAlias(node)) node = node.resolve(document);
    if (!isCollection(node)) break;
    const pair = isMap(node) ? node.items.find(({ key }) => isScalar(key) && String(key.value) === step) : undefined;
    const next: unknown = pair?.value ?? node.items[Number(step)];
    const place = pair?.key ?? next;
    if (typeof place !== 'object' || place === null || !('range' in place)) break;
    offset = (place.range as readonly number[] | undefined)?.[0] ?? offset;
    node = next;
  }
  return offset;
}

function invalid(what: string, line: number | undefined, why: string): FairleadError {
  const where = line === undefined ? '' : ` at line ${line}`;
  return new FairleadError('VALIDATION', `${what} is not valid${where}: ${why}`);
}
