/** A part of the hosts: how it is kept in a column, and how lists are cut down to it. */
import { type Expression, expressionBuilder, type SqlBool } from 'kysely';
import type { Schema } from './schema.ts';

/** The hosts that are listed, and those that carry one of the tags. */
export interface HostScope {
  /** Ids. */
  readonly hosts: readonly string[];
  readonly tags: readonly string[];
}

/** Whether the host with this id is in `scope`. */
export function inScope(hostId: Expression<string>, { hosts, tags }: HostScope): Expression<SqlBool> {
  const e = expressionBuilder<Schema, never>();
  // An empty list is no valid SQL everywhere; without any, nothing is in scope.
  const listed = hosts.length === 0 ? [] : [e(hostId, 'in', hosts)];
  const tagged = e.selectFrom('host_tags').select('host_tags.host_id').where('host_tags.tag', 'in', tags);
  return e.or([...listed, ...(tags.length === 0 ? [] : [e(hostId, 'in', tagged)])]);
}

/** `scope` as it stands in a column; null is every host. */
export function writeScope(scope: HostScope | undefined): string | null {
  return scope === undefined ? null : JSON.stringify({ hosts: scope.hosts, tags: scope.tags });
}

/** The scope that stands in a column. What cannot be read must not open every host: it throws. */
export function readScope(text: string | null): HostScope | undefined {
  if (text === null) return undefined;
  const { hosts, tags } = JSON.parse(text) as Partial<Record<string, unknown>>;
  if (!isStrings(hosts) || !isStrings(tags)) throw new Error('a scope in the store is malformed');
  return { hosts, tags };
}

function isStrings(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((entry) => typeof entry === 'string');
}
