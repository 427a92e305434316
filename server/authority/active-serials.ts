/** The allow-list: serials of the certificates that may open a session. Asked at every handshake, so it is in memory. */
import { normalizeSerial, parseSerial } from '../../certs/serial.ts';

export class ActiveSerials {
  readonly #hosts = new Map<string, string>();

  constructor(certificates: Iterable<{ readonly serial: string; readonly hostId: string }> = []) {
    for (const { serial, hostId } of certificates) this.add(serial, hostId);
  }

  get size(): number {
    return this.#hosts.size;
  }

  /** Whether the certificate may open a session. Takes any form of hex; what is not hex is no serial. */
  has(serial: string): boolean {
    return this.hostOf(serial) !== undefined;
  }

  /** The host whose certificate it is, if it may open a session. */
  hostOf(serial: string): string | undefined {
    const normal = parseSerial(serial);
    return normal === undefined ? undefined : this.#hosts.get(normal);
  }

  /** @throws FairleadError VALIDATION if `serial` is not hex */
  add(serial: string, hostId: string): void {
    this.#hosts.set(normalizeSerial(serial), hostId);
  }

  /** Takes the certificate off the list: from here on it opens no session. Idempotent. */
  remove(serial: string): void {
    this.#hosts.delete(normalizeSerial(serial));
  }
}
