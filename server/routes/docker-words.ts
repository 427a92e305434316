/** What routes take in Docker's own words: bodies and filters. */
import Type, { type Static } from 'typebox';
import { FairleadError } from '../../shared/errors.ts';
import { MAX_ITEM_NODES, MAX_MESSAGE_DEPTH } from '../../shared/limits.ts';
import { Filters } from '../../shared/messages/family.ts';
import { fits } from '../../shared/validate.ts';
import { fieldsOf, type TellingBody } from '../docker-proxy/call-facts.ts';

/** Room for what a body is wrapped in on its way. */
const MAX_BODY_DEPTH = MAX_MESSAGE_DEPTH - 4;
const MAX_BODY_NODES = MAX_ITEM_NODES - 100;
const MAX_FILTERS_CHARS = 16 * 1024;

/** A body in Docker's own words: what is in it, Docker judges. */
export const DockerBody = Type.Record(Type.String(), Type.Unknown(), { description: "Docker's own body for this" });

/**
 * The fields of such a body, by their names in lower case.
 * @throws FairleadError VALIDATION if it has a field twice, which Docker would read as it likes, or is too much for one message
 */
export function readDockerBody(body: Static<typeof DockerBody>): TellingBody {
  const left = { nodes: MAX_BODY_NODES };
  if (!isWithin(body, MAX_BODY_DEPTH, left)) {
    throw new FairleadError(
      'VALIDATION',
      `the body is too much: it may be ${MAX_BODY_DEPTH} levels deep and have ${MAX_BODY_NODES} values, names included`,
    );
  }
  return fieldsOf(body);
}

/** Counts until it is too much, so that no body takes longer than it may be large. */
function isWithin(value: unknown, depth: number, left: { nodes: number }): boolean {
  left.nodes -= 1;
  if (left.nodes < 0) return false;
  if (typeof value !== 'object' || value === null) return true;
  if (depth === 0) return false;
  if (Object.hasOwn(value, '__proto__')) {
    throw new FairleadError('VALIDATION', 'a field of the body is called __proto__, which no message may hold');
  }
  const isList = Array.isArray(value);
  for (const one of isList ? value : Object.values(value)) {
    if (!isList) left.nodes -= 1;
    if (!isWithin(one, depth - 1, left)) return false;
  }
  return true;
}

/** The filters of a query, as Docker takes them there. */
export const filtersQuery = {
  filters: Type.Optional(
    Type.String({ maxLength: MAX_FILTERS_CHARS, description: 'Docker\'s own, as JSON: `{"label":["env=prod"]}`' }),
  ),
};

/**
 * Filters that stand in a query, to be spread into parameters.
 * @throws FairleadError VALIDATION
 */
export function readFilters(text: string | undefined): { filters?: Static<typeof Filters> } {
  if (text === undefined || text === '') return {};
  const filters = listed(parsed(text));
  if (fits(Filters, filters)) return { filters };
  throw new FairleadError('VALIDATION', 'filters must be JSON such as {"label":["env=prod"],"name":["web"]}');
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Docker's clients write the values of a filter as a list, or as an object that has each of them as true. */
function listed(filters: unknown): unknown {
  if (typeof filters !== 'object' || filters === null || Array.isArray(filters)) return undefined;
  return Object.fromEntries(
    Object.entries(filters).map(([name, values]) => [name, isSet(values) ? Object.keys(values) : values]),
  );
}

function isSet(values: unknown): values is Record<string, true> {
  if (typeof values !== 'object' || values === null || Array.isArray(values)) return false;
  return Object.values(values).every((value) => value === true);
}
