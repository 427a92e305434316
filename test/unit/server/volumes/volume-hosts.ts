/** Hosts made up for the tests of transfers: one has a volume as bytes, the other keeps what comes, and both can be cut. */
import { createHash } from 'node:crypto';
import { PassThrough } from 'node:stream';
import type { HostLink, LinkStream } from '../../../../server/hosts/host-link.ts';
import { type ErrorCode, FairleadError } from '../../../../shared/errors.ts';
import { type FakeLink, fakeLink } from '../hosts/fake-link.ts';

export const shaOf = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

/** What is asked of a host, in order. */
type Asked = { kind: string; params: Record<string, unknown> };

export class VolumeHost {
  readonly id: string;
  readonly asked: Asked[] = [];
  /** At the source: the volume as a tar. */
  tar = Buffer.alloc(0);
  /** At the target: what it has, and what is in place. */
  spool = Buffer.alloc(0);
  placed: Buffer | undefined;
  /** Fails the next call or stream of a kind. */
  readonly failing = new Map<string, FairleadError>();
  /** At the target: the connection is lost once it has so many bytes. */
  cutAt = Number.POSITIVE_INFINITY;
  /** At the source: nothing is sent until this resolves. */
  held: Promise<void> = Promise.resolve();
  link: FakeLink;

  constructor(id: string) {
    this.id = id;
    this.link = this.connect();
  }

  /** A new connection of the host. */
  connect(): FakeLink {
    const link = fakeLink(this.id);
    this.link = Object.assign(link, {
      call: (kind, params) => this.#call(kind.name, params as Asked['params']) as never,
      open: (kind, params, options) => this.#open(kind.name, params as Asked['params'], options?.signal) as never,
    } satisfies Pick<HostLink, 'call' | 'open'>);
    return this.link;
  }

  #ask(kind: string, params: Asked['params']): void {
    this.asked.push({ kind, params });
    const failure = this.failing.get(kind);
    this.failing.delete(kind);
    if (failure !== undefined) throw failure;
  }

  async #call(kind: string, params: Asked['params']): Promise<unknown> {
    this.#ask(kind, params);
    if (kind === 'volume.transfer.prepare') return { offset: this.spool.length, sha256: shaOf(this.spool) };
    if (kind === 'volume.transfer.apply') {
      if (shaOf(this.spool) !== params['sha256']) throw new FairleadError('STREAM_INTERRUPTED', 'not what was sent');
      this.placed = this.spool;
    }
    this.spool = Buffer.alloc(0);
    return {};
  }

  async #open(kind: string, params: Asked['params'], signal?: AbortSignal): Promise<LinkStream> {
    this.#ask(kind, params);
    const trailer = Promise.withResolvers<unknown>();
    const closed = Promise.withResolvers<FairleadError | undefined>();
    trailer.promise.catch(() => undefined);
    const bytes = new PassThrough();
    bytes.on('error', () => undefined);
    const interrupt = (error: FairleadError) => {
      trailer.reject(error);
      bytes.destroy(error);
      closed.resolve(error);
    };
    void this.link.closed.then(() => interrupt(new FairleadError('STREAM_INTERRUPTED', 'the link is gone')));
    signal?.addEventListener('abort', () => interrupt(signal.reason as FairleadError));
    const reply =
      kind === 'volume.transfer.send' ? this.#send(params, bytes, trailer) : this.#receive(params, bytes, trailer);
    const stream = { reply, bytes, trailer: trailer.promise, reset: interrupt, closed: closed.promise };
    return stream as unknown as LinkStream;
  }

  #send(params: Asked['params'], bytes: PassThrough, trailer: PromiseWithResolvers<unknown>): unknown {
    const asked = Number(params['offset']);
    const isSame = asked > 0 && shaOf(this.tar.subarray(0, asked)) === params['sha256'];
    const offset = isSame ? asked : 0;
    void this.held.then(() => {
      for (let at = offset; at < this.tar.length; at += 1000) bytes.write(this.tar.subarray(at, at + 1000));
      bytes.end();
      trailer.resolve({ bytes: this.tar.length, sha256: shaOf(this.tar) });
    });
    return { offset, make: { driver: 'local', options: {}, labels: {} }, estimatedBytes: this.tar.length };
  }

  #receive(params: Asked['params'], bytes: PassThrough, trailer: PromiseWithResolvers<unknown>): unknown {
    this.spool = this.spool.subarray(0, Number(params['offset']));
    let isCut = false;
    bytes.on('data', (chunk: Buffer) => {
      if (isCut) return;
      this.spool = Buffer.concat([this.spool, chunk]);
      isCut = this.spool.length >= this.cutAt;
      if (isCut) this.drop('STREAM_INTERRUPTED');
    });
    bytes.on('end', () => trailer.resolve({ bytes: this.spool.length, sha256: shaOf(this.spool) }));
    return {};
  }

  /** The connection is lost. */
  drop(code: ErrorCode): void {
    this.cutAt = Number.POSITIVE_INFINITY;
    this.link.drop(code);
  }
}
