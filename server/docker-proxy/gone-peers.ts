/**
 * Notices that a client is gone which has closed its half of a TLS connection. Docker's own clients do so by TLS alone, as
 * when their input has ended, and go on reading; the kernel of one that was killed closes the TCP connection under it. Node
 * tells the two apart in no way, but the kernel does.
 */
import { readFile, readlink } from 'node:fs/promises';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { INTERNAL_SERVER_NAME } from '../../certs/names.ts';
import type { Clock, Timer } from '../../shared/clock.ts';

const LOOK_EVERY_MS = 2_000;
/** Clients written in Go. Others, Node's among them, close both for the end of their input: of those nothing can be told. */
const GO_CLIENTS = /^(?:docker-client|compose|docker-compose|buildx|buildkit|moby|go-http-client)\b/i;
/** The state of a TCP connection whose other end has closed it, as Linux writes it. */
const CLOSE_WAIT = '08';
/** A connection that was reset is in no table; nor, now and then, is one that moved while the table was read. */
const MISSES = 2;

interface Watched {
  readonly gone: () => void;
  /** Looks in a row in which the connection was in no table. */
  misses: number;
}

export class GonePeers {
  readonly #clock: Clock;
  /** By the inode of the socket. */
  readonly #watched = new Map<string, Watched>();
  #timer: Timer | undefined;
  #isLooking = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Calls `gone` once the client is gone that is at the other end of `socket`, from the moment that its half of `stream`,
   * which is what HTTP has made of the socket, has ended. Does nothing for a client, or on a system, of which it cannot be
   * told. @returns what stops it, idempotent
   */
  watch(stream: Duplex, socket: Socket, userAgent: string | undefined, gone: () => void): () => void {
    let isStopped = false;
    let inode: string | undefined;
    const onEnd = async () => {
      inode = await inodeOf(socket);
      if (isStopped || inode === undefined) return;
      this.#watched.set(inode, { gone, misses: 0 });
      await this.#look();
    };
    if (hasOwnTls(socket) && GO_CLIENTS.test(userAgent ?? '')) {
      // Of one that was gone before Docker had answered, the end has come and gone as well.
      if (stream.readableEnded) void onEnd();
      else stream.once('end', onEnd);
    }
    return () => {
      isStopped = true;
      stream.off('end', onEnd);
      if (inode !== undefined) this.#watched.delete(inode);
    };
  }

  /** One at a time: whoever comes meanwhile is looked at the next time. */
  async #look(): Promise<void> {
    if (this.#isLooking) return;
    this.#timer?.cancel();
    this.#isLooking = true;
    const states = await connectionStates();
    this.#isLooking = false;
    for (const [inode, watched] of this.#watched) {
      const state = states.get(inode);
      watched.misses = state === undefined && states.size > 0 ? watched.misses + 1 : 0;
      if (state !== CLOSE_WAIT && watched.misses < MISSES) continue;
      this.#watched.delete(inode);
      watched.gone();
    }
    this.#timer = this.#watched.size > 0 ? this.#clock.setTimeout(() => void this.#look(), LOOK_EVERY_MS) : undefined;
  }
}

/** Whether it is the client itself that speaks TLS: a proxy that has ended its TLS asks by our own name, and closes both as well. */
function hasOwnTls(socket: Socket & { encrypted?: boolean; servername?: unknown }): boolean {
  return socket.encrypted === true && socket.servername !== INTERNAL_SERVER_NAME;
}

/** The number by which the kernel's tables know a socket; undefined where there are none. */
async function inodeOf(socket: Socket): Promise<string | undefined> {
  const { fd } = (socket as unknown as { _handle?: { fd?: number } | null })._handle ?? {};
  if (fd === undefined || fd < 0) return undefined;
  const link = await readlink(`/proc/self/fd/${fd}`).catch(() => '');
  return /^socket:\[(\d+)\]$/.exec(link)?.[1];
}

/** The states of all TCP connections by their inodes; empty where there is no table. */
async function connectionStates(): Promise<Map<string, string>> {
  const tables = await Promise.all(
    // A kernel without IPv6 has one of them.
    ['tcp', 'tcp6'].map((name) => readFile(`/proc/self/net/${name}`, 'latin1').catch(() => '')),
  );
  const states = new Map<string, string>();
  for (const line of tables.flatMap((table) => table.split('\n'))) {
    const columns = line.trim().split(/\s+/);
    const [, , , state] = columns;
    const inode = columns[9];
    if (state !== undefined && inode !== undefined) states.set(inode, state);
  }
  return states;
}
