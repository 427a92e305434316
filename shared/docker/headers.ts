/** Headers of Docker exchanges that are passed on: pairs of name and value, in order, as often as they came. */
import type { Static } from 'typebox';
import type { Header } from '../messages/docker.ts';

export type HeaderPair = Static<typeof Header>;

/** What is between two neighbours and no further (RFC 9110, 7.6.1), or says how a body is framed for them. */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** Whether a header is between two neighbours only. */
export function isHopByHop(name: string): boolean {
  return HOP_BY_HOP.has(name.toLowerCase());
}

/** Who a client is, and how its connection is used. */
const CLIENT_HEADERS: ReadonlySet<string> = new Set([
  'authorization',
  'content-length',
  'cookie',
  'expect',
  'forwarded',
  'host',
  'via',
]);
const CLIENT_FAMILIES = /^(?:x-forwarded-|sec-fetch-)/;

/** Whether a header is for whoever takes a client's request, and not for Docker behind it. */
export function isForNeighbour(name: string): boolean {
  const lower = name.toLowerCase();
  return CLIENT_HEADERS.has(lower) || CLIENT_FAMILIES.test(lower);
}

/** The pairs of Node's flat list, without what is hop by hop or named so by `Connection`. */
export function endToEnd(raw: readonly string[]): HeaderPair[] {
  const pairs: HeaderPair[] = [];
  for (let at = 0; at + 1 < raw.length; at += 2) pairs.push([raw[at] ?? '', raw[at + 1] ?? '']);
  const named = new Set(
    pairs
      .filter(([name]) => name.toLowerCase() === 'connection')
      .flatMap(([, value]) => value.toLowerCase().split(','))
      .map((name) => name.trim()),
  );
  return pairs.filter(([name]) => !isHopByHop(name) && !named.has(name.toLowerCase()));
}
