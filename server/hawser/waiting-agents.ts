/**
 * Agents that have connected and not said hello. Anybody may wait so: when there is no place, whoever has waited longest on the
 * busiest network goes, so that silent connections keep nobody out, and those of one network none of another.
 */
import type { WebSocket } from 'ws';
import { networkOf } from '../../shared/network.ts';

/** Places in all, and of one network: an agent says hello at once, and needs its place for a round trip. */
export const MAX_WAITING = 256;
const MAX_WAITING_OF_NETWORK = 32;

export class WaitingAgents {
  /** By network, each the oldest first. */
  readonly #networks = new Map<string, Set<WebSocket>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Gives `ws` a place until the returned function is called, or until others need it: then it is terminated. */
  enter(ws: WebSocket, address: string): () => void {
    const network = networkOf(address);
    const ofNetwork = this.#networks.get(network)?.size ?? 0;
    if (ofNetwork >= MAX_WAITING_OF_NETWORK) this.#evict(network);
    else if (this.#size >= MAX_WAITING) this.#evict(this.#busiest());
    const waiting = this.#networks.get(network) ?? new Set();
    this.#networks.set(network, waiting.add(ws));
    this.#size++;
    return () => this.#leave(network, ws);
  }

  /** Ends all that wait. */
  close(): void {
    for (const waiting of [...this.#networks.values()]) for (const ws of [...waiting]) ws.terminate();
  }

  #busiest(): string {
    let busiest = '';
    let most = 0;
    for (const [network, { size }] of this.#networks) if (size > most) [busiest, most] = [network, size];
    return busiest;
  }

  #evict(network: string): void {
    const [oldest] = this.#networks.get(network) ?? [];
    if (oldest === undefined) return;
    this.#leave(network, oldest);
    oldest.terminate();
  }

  #leave(network: string, ws: WebSocket): void {
    const waiting = this.#networks.get(network);
    if (waiting?.delete(ws) !== true) return;
    this.#size--;
    if (waiting.size === 0) this.#networks.delete(network);
  }
}
