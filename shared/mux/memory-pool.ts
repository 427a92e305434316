/** The memory that the streams of a whole process may take, over all its sessions. */

/** Windows grow beyond their base only while less than this part of the pool is used, and never past it. */
const GROWTH_PART = 0.5;
/** From this part on, streams keep their share and no more. */
const SHORT_PART = 0.8;

export class MemoryPool {
  readonly totalBytes: number;
  #usedBytes = 0;

  /** @param totalBytes what all sessions together may hold, or have promised to take; may be infinite */
  constructor(totalBytes: number) {
    this.totalBytes = totalBytes;
  }

  /** Windows granted and not used up, unread bytes, messages in the making, and bytes that wait to be sent. */
  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** Counts bytes in, or out if negative. */
  count(bytes: number): void {
    this.#usedBytes += bytes;
  }

  hasRoom(bytes: number): boolean {
    return this.#usedBytes + bytes <= this.totalBytes;
  }

  /** What windows may take until each stream keeps its share alone, in bytes; may be negative. */
  get windowRoom(): number {
    return Math.floor(SHORT_PART * this.totalBytes) - this.#usedBytes;
  }

  /**
   * The largest window of one stream, in bytes. It is what growth has left, so that many streams that all want more
   * come to have the same: whoever has more than is left is given less.
   */
  maxWindow(base: number, share: number): number {
    if (this.windowRoom <= 0) return share;
    return Math.max(base, Math.floor(GROWTH_PART * this.totalBytes) - this.#usedBytes);
  }
}
