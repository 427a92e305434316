/** What an administrator says of a host whose agent listens: checked, and kept apart by what is secret of it. */

import { readCertificate } from '../../../certs/pem.ts';
import { pinBytes } from '../../../certs/pin.ts';
import { FairleadError } from '../../../shared/errors.ts';
import { isRefused, lookupBut } from '../../events/safe-address.ts';
import type { AgentAddress } from './connections.ts';

export interface StandardRequest {
  /** https, or http where `insecureHttp` says so. */
  readonly url: string;
  readonly token: string;
  /** One certificate in PEM. */
  readonly ca?: string | undefined;
  /** `sha256:` and 64 hex digits, with colons or without. */
  readonly pin?: string | undefined;
  readonly proxy?: string | undefined;
  /** Agrees that the token, and all else, goes over the network in clear. */
  readonly insecureHttp?: boolean | undefined;
}

/** What may be shown. */
export interface StandardSettings {
  readonly url: string;
  readonly ca?: string | undefined;
  readonly pin?: string | undefined;
  readonly insecureHttp: boolean;
}

/** What is sealed at rest, and never shown. */
export interface StandardSecrets {
  readonly token: string;
  /** With user and password, perhaps. */
  readonly proxy?: string | undefined;
}

const MAX_URL_CHARS = 2_048;
/** What a header can carry; tokens are mostly base64url. */
const TOKEN = /^[\x21-\x7e]{1,512}$/;

/** @throws FairleadError VALIDATION */
export function checkSettings(request: StandardRequest): { settings: StandardSettings; secrets: StandardSecrets } {
  const { token, ca, pin, insecureHttp = false } = request;
  const url = readUrl('url', request.url);
  if (url.protocol === 'http:' && !insecureHttp)
    throw invalid('url is plain HTTP, over which the token goes in clear: use https, or agree with insecureHttp');
  if (url.search !== '' || url.hash !== '') throw invalid('url must have no query: the token goes in a header');
  if (url.username !== '' || url.password !== '') throw invalid('url must have no user and no password');
  requireAllowed(url);
  if (!TOKEN.test(token)) throw invalid('token must be 1 to 512 visible characters of ASCII');
  if (ca !== undefined && pin !== undefined) throw invalid('give ca or pin: a pinned certificate needs no CA');
  if (url.protocol === 'http:' && (ca ?? pin) !== undefined) throw invalid('ca and pin are for https');
  const proxy = request.proxy === undefined ? undefined : readProxy(request.proxy, url);
  return {
    settings: {
      ...{ url: url.href, insecureHttp },
      ...(ca === undefined ? {} : { ca: checkCa(ca) }),
      ...(pin === undefined ? {} : { pin: checkPin(pin) }),
    },
    secrets: { token, ...(proxy === undefined ? {} : { proxy }) },
  };
}

/** What is dialled. @throws FairleadError VALIDATION for what was allowed once and is not any more */
export function addressOf({ url, ca, pin }: StandardSettings, { token, proxy }: StandardSecrets): AgentAddress {
  const parsed = new URL(url);
  requireAllowed(parsed);
  if (proxy !== undefined) requireProxyAllowed(new URL(proxy));
  return { url: parsed, token, ca, pin: pin?.replace('sha256:', ''), proxy };
}

/** A proxy as it may be shown. */
export function shownProxy(proxy: string | undefined): string | undefined {
  return proxy === undefined ? undefined : new URL(proxy).origin;
}

/** Names that lead where no agent is, but the credentials of clouds, fail when they are resolved. */
export const standardLookup = lookupBut(notThere);

/** What is wrong with an address that the name of a proxy leads to. */
export function proxyRefusal(name: string, address: string): FairleadError | undefined {
  return isRefused(address) ? noProxy(name === address ? name : `${name} (${address})`) : undefined;
}

function requireProxyAllowed({ hostname }: URL): void {
  const refusal = proxyRefusal(hostname, hostname);
  if (refusal !== undefined) throw refusal;
}

function noProxy(host: string): FairleadError {
  return new FairleadError('VALIDATION', `no proxy is dialled at ${host}: clouds hand out credentials there`);
}

function requireAllowed({ hostname }: URL): void {
  if (isRefused(hostname)) throw notThere(hostname);
}

function notThere(host: string): FairleadError {
  return new FairleadError('VALIDATION', `no agent of Hawser is dialled at ${host}: clouds hand out credentials there`);
}

function readUrl(what: string, given: string): URL {
  const url = given.length > MAX_URL_CHARS ? null : URL.parse(given);
  if (url !== null && ['http:', 'https:'].includes(url.protocol) && url.hostname !== '') return url;
  throw invalid(`${what} is not valid: give it as https://HOST:PORT`);
}

function readProxy(given: string, target: URL): string {
  const proxy = readUrl('proxy', given);
  if (target.protocol === 'http:') throw invalid('a proxy is for https: it would read the token otherwise');
  if (proxy.pathname !== '/' || proxy.search !== '' || proxy.hash !== '')
    throw invalid('proxy is not valid: give it as http://HOST:PORT');
  requireProxyAllowed(proxy);
  return proxy.href;
}

function checkCa(pem: string): string {
  readCertificate(pem);
  return pem;
}

function checkPin(pin: string): string {
  return `sha256:${pinBytes(pin.replace(/^(sha256:)?/i, '').replaceAll(':', '')).toString('hex')}`;
}

function invalid(message: string): FairleadError {
  return new FairleadError('VALIDATION', message);
}
