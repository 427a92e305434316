/** DER as a tree that can be changed and written again with right lengths; naive, and written for tests alone. */
import fc from 'fast-check';

export type DerTree = { tag: number; parts: DerTree[] } | { tag: number; bytes: Buffer };

const CONSTRUCTED = 0x20;

/** X.690 8.1.3.5 and 10.1. */
function lengthOf(size: number): number[] {
  if (size < 128) return [size];
  const digits: number[] = [];
  for (let rest = size; rest > 0; rest = Math.floor(rest / 256)) digits.unshift(rest % 256);
  return [0x80 + digits.length, ...digits];
}

export function writeDer(tree: DerTree): Buffer {
  const content = 'parts' in tree ? Buffer.concat(tree.parts.map(writeDer)) : tree.bytes;
  return Buffer.concat([Buffer.from([tree.tag, ...lengthOf(content.length)]), content]);
}

/** Reads what is known to be DER with tags of one byte. @throws Error for anything else */
export function derTree(bytes: Buffer): DerTree {
  const [tree, ...more] = derTrees(bytes);
  if (tree === undefined || more.length > 0) throw new Error('this is not one element');
  return tree;
}

function derTrees(bytes: Buffer): DerTree[] {
  const trees: DerTree[] = [];
  for (let at = 0; at < bytes.length; ) {
    const tag = bytes[at] ?? 0;
    const first = bytes[at + 1] ?? 0;
    const count = first < 0x80 ? 0 : first & 0x7f;
    const size = count === 0 ? first : bytes.readUIntBE(at + 2, count);
    const start = at + 2 + count;
    if (start + size > bytes.length) throw new Error('an element ends behind its bytes');
    const content = bytes.subarray(start, start + size);
    trees.push((tag & CONSTRUCTED) === 0 ? { tag, bytes: content } : { tag, parts: derTrees(content) });
    at = start + size;
  }
  return trees;
}

/** All elements of a tree, each with the list that it stands in. */
function places(tree: DerTree): { list: DerTree[]; at: number }[] {
  if (!('parts' in tree)) return [];
  return tree.parts.flatMap((part, at) => [{ list: tree.parts, at }, ...places(part)]);
}

type Edit = (list: DerTree[], at: number, others: readonly DerTree[]) => void;

const edit: fc.Arbitrary<Edit> = fc.oneof(
  fc.constant<Edit>((list, at) => void list.splice(at, 1)),
  fc.constant<Edit>((list, at) => void list.splice(at, 0, structuredClone(list[at] as DerTree))),
  fc.constant<Edit>((list) => void list.reverse()),
  fc.constantFrom(0x02, 0x03, 0x04, 0x05, 0x06, 0x0c, 0x30, 0x31, 0x80, 0xa0).map(
    (tag): Edit =>
      (list, at) => {
        const element = list[at];
        if (element !== undefined) element.tag = tag;
      },
  ),
  fc.uint8Array({ maxLength: 80 }).map(
    (bytes): Edit =>
      (list, at) => {
        const element = list[at];
        if (element !== undefined) list[at] = { tag: element.tag & ~CONSTRUCTED, bytes: Buffer.from(bytes) };
      },
  ),
  fc.tuple(fc.nat(), fc.nat({ max: 255 })).map(
    ([index, octet]): Edit =>
      (list, at) => {
        const element = list[at];
        if (element === undefined || !('bytes' in element) || element.bytes.length === 0) return;
        element.bytes = Buffer.from(element.bytes);
        element.bytes[index % element.bytes.length] = octet;
      },
  ),
  fc.nat().map(
    (which): Edit =>
      (list, at, others) => {
        const other = others[which % others.length];
        const from = other === undefined ? [] : places(other);
        const found = from[which % from.length];
        if (found !== undefined) list[at] = structuredClone(found.list[found.at] as DerTree);
      },
  ),
);

/** Trees that were changed in one to three places, an element of another seed among what may come in. */
export function changedTrees(seeds: readonly DerTree[]): fc.Arbitrary<{ which: number; tree: DerTree }> {
  const edits = fc.array(fc.tuple(fc.nat(), edit), { minLength: 1, maxLength: 3 });
  return fc.tuple(fc.nat({ max: seeds.length - 1 }), edits).map(([which, todo]) => {
    const tree = revived(structuredClone(seeds[which] as DerTree));
    for (const [where, apply] of todo) {
      const all = places(tree);
      const found = all[where % all.length];
      if (found !== undefined) apply(found.list, found.at, seeds);
    }
    return { which, tree: revived(tree) };
  });
}

/** A clone has arrays of bytes in the place of buffers. */
function revived(tree: DerTree): DerTree {
  if ('parts' in tree) return { tag: tree.tag, parts: tree.parts.map(revived) };
  return { tag: tree.tag, bytes: Buffer.from(tree.bytes) };
}
