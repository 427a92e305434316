/** Docker's multiplexed output, written for tests. */

/** One frame: 1 is stdout, 2 stderr. */
export function dockerFrame(type: number, body: string | Uint8Array): Buffer {
  const bytes = Buffer.from(body as Uint8Array);
  const header = Buffer.alloc(8);
  header.writeUInt8(type, 0);
  header.writeUInt32BE(bytes.length, 4);
  return Buffer.concat([header, bytes]);
}

/** `bytes` in pieces of `size`. */
export function cutInto(bytes: Buffer, size: number): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += size) pieces.push(bytes.subarray(at, at + size));
  return pieces;
}
