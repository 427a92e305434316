/** A client of the REST API for tests: one CA, one token, whole answers or streams. */
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import https from 'node:https';
import { text } from 'node:stream/consumers';
import { WebSocket } from 'ws';

export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  text: string;
  /** The parsed JSON, or undefined when the answer is none. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every route
  body: any;
}

export interface RequestOptions {
  body?: unknown;
  headers?: Record<string, string>;
  /** Another token than the client's own; `null` sends none. */
  token?: string | null;
  signal?: AbortSignal;
}

export interface ApiOptions {
  url: string;
  /** PEM of the one CA that is trusted. */
  ca: string;
  token?: string;
}

/** Paths are relative to the server's root: `/api/v1/hosts`. */
export class Api {
  readonly url: string;
  readonly ca: string;
  readonly token: string | undefined;

  constructor(options: ApiOptions) {
    this.url = options.url;
    this.ca = options.ca;
    this.token = options.token;
  }

  get(path: string, options: RequestOptions = {}): Promise<Answer> {
    return this.request('GET', path, options);
  }

  post(path: string, body?: unknown, options: RequestOptions = {}): Promise<Answer> {
    return this.request('POST', path, { ...options, body });
  }

  delete(path: string, options: RequestOptions = {}): Promise<Answer> {
    return this.request('DELETE', path, options);
  }

  async request(method: string, path: string, options: RequestOptions = {}): Promise<Answer> {
    const response = await this.open(method, path, options);
    const answer = await text(response);
    const isJson = /\bjson\b/.test(response.headers['content-type'] ?? '');
    return {
      status: response.statusCode ?? 0,
      headers: response.headers,
      text: answer,
      body: isJson ? parsed(answer) : undefined,
    };
  }

  /** The answer as soon as its headers are there; the body is the caller's to read or destroy. */
  open(method: string, path: string, options: RequestOptions = {}): Promise<IncomingMessage> {
    const body = options.body === undefined ? undefined : JSON.stringify(options.body);
    return new Promise((resolve, reject) => {
      const request = https.request(
        new URL(path, this.url),
        {
          method,
          ca: this.ca,
          agent: false,
          headers: {
            ...this.#authorization(options.token),
            ...(body === undefined ? {} : { 'content-type': 'application/json' }),
            ...options.headers,
          },
          ...(options.signal ? { signal: options.signal } : {}),
        },
        resolve,
      );
      request.on('error', reject);
      request.end(body);
    });
  }

  webSocket(path: string, options: { token?: string | null } = {}): WebSocket {
    const url = new URL(path, this.url.replace(/^http/, 'ws'));
    return new WebSocket(url, { ca: this.ca, headers: this.#authorization(options.token) });
  }

  #authorization(token: string | null | undefined): Record<string, string> {
    const used = token === undefined ? this.token : token;
    return used ? { authorization: `Bearer ${used}` } : {};
  }
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined; // a body that was cut is read as text
  }
}

/** GETs without trusting anyone: for /ca.pem alone, whose pin is then compared. */
export function fetchBlindly(url: string): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const request = https.get(url, { rejectUnauthorized: false, agent: false }, async (response) => {
      try {
        resolve({ status: response.statusCode ?? 0, text: await text(response) });
      } catch (error) {
        reject(error);
      }
    });
    request.on('error', reject);
  });
}
