/** Keeps what a stored login is trusted by in step with a server that changes its CA. */
import { INTERNAL_SERVER_NAME } from '../../certs/names.ts';
import { MAX_BUNDLE_BYTES, pemOf, rootsIn, trustFrom } from '../../certs/trust.ts';
import { isFairleadError } from '../../shared/errors.ts';
import { fetchUntrusted, requestPinned } from '../../shared/pinned-http.ts';
import { type Context, saveContext } from './context-file.ts';
import type { Trust } from './trust.ts';

export interface StoredLogin {
  readonly path: string;
  readonly context: Context;
  readonly url: URL;
  /** ms since 1970. */
  readonly now: number;
}

/**
 * Looks whether a server that could not be verified has a root by now that the known ones endorse, and stores that. On an
 * unverified word roots are only ever added.
 * @returns what to trust from now on; undefined if nothing is new
 */
export async function followEndorsements(login: StoredLogin): Promise<Trust | undefined> {
  const { context, url, now } = login;
  if (context.trust.kind !== 'internal') return undefined;
  const known = rootsIn(context.trust.ca);
  const pins = known.map(({ pin }) => pin);
  const bundle = await fetchUntrusted(baseOf(url), { maxBytes: MAX_BUNDLE_BYTES });
  const added = trustFrom(bundle, pins, now).filter(({ pin }) => !pins.includes(pin));
  return added.length === 0 ? undefined : await store(login, pemOf([...known, ...added]));
}

/**
 * While a stored login trusts more than one root, asks the server, verified by them, which of them still count, and drops
 * the others.
 * @returns what to trust from now on
 */
export async function dropRetired(login: StoredLogin): Promise<Trust> {
  const { context, url, now } = login;
  const { trust } = context;
  if (trust.kind !== 'internal') return trust;
  const pins = rootsIn(trust.ca).map(({ pin }) => pin);
  if (pins.length < 2) return trust;
  try {
    const asked = { url: `${baseOf(url)}/ca.pem`, method: 'GET', ca: trust.ca, servername: INTERNAL_SERVER_NAME };
    const { status, body } = await requestPinned({ ...asked, maxBytes: MAX_BUNDLE_BYTES });
    const roots = status === 200 && typeof body === 'string' ? trustFrom(body, pins, now) : [];
    const ca = pemOf(roots);
    return ca === '' || ca === trust.ca ? trust : await store(login, ca);
  } catch (error) {
    // What stands in the way will show in the call itself.
    if (isFairleadError(error)) return trust;
    throw error;
  }
}

async function store({ path, context }: StoredLogin, ca: string): Promise<Trust> {
  const trust: Trust = { kind: 'internal', ca };
  await saveContext(path, { ...context, trust });
  return trust;
}

function baseOf(url: URL): string {
  return url.href.replace(/\/$/, '');
}
