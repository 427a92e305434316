/**
 * Takes out of an ELF executable what is not loaded when it runs: symbols and debug information, a fifth of Node. Done
 * here and not by `strip`, which knows only the machine's own architecture and writes another file in each version.
 */

const MAGIC = '7f454c46';
/** ELFCLASS64 and ELFDATA2LSB: of 64 bits, little-endian. */
const CLASS_AND_ORDER = '0201';
const SECTION_HEADER_BYTES = 64;
const PROGRAM_HEADER_BYTES = 56;
const PT_LOAD = 1;
/** The section is in memory when the program runs. */
const SHF_ALLOC = 2n;
/** The section's info is the number of another section. */
const SHF_INFO_LINK = 0x40n;

/** Where things stand in the file's header, in a program header and in a section's header. */
const FILE = { phoff: 32, shoff: 40, phentsize: 54, phnum: 56, shentsize: 58, shnum: 60, shstrndx: 62 };
const PROGRAM = { type: 0, offset: 8, filesz: 32 };
const SECTION = { flags: 8, offset: 24, size: 32, link: 40, info: 44 };

/** @returns a copy with what is loaded alone, and the headers of those sections. @throws Error for another sort of file */
export function stripElf(file: Buffer): Buffer {
  requireElf64(file);
  const loadedEnd = endOfLoaded(file);
  const sections = sectionHeaders(file);
  const names = sections[file.readUInt16LE(FILE.shstrndx)];
  if (names === undefined) throw new Error('the executable has no names of sections');
  const kept = sections.filter((header, index) => index === 0 || isLoaded(header));
  const renumbered = new Map(kept.map((header, index) => [sections.indexOf(header), index]));
  const headers = kept.map((header) => relinked(header, renumbered));

  const nameBytes = contentOf(file, names);
  const namesHeader = Buffer.from(names);
  namesHeader.writeBigUInt64LE(BigInt(loadedEnd), SECTION.offset);
  const padding = Buffer.alloc((8 - ((loadedEnd + nameBytes.byteLength) % 8)) % 8);

  const head = Buffer.from(file.subarray(0, loadedEnd));
  head.writeBigUInt64LE(BigInt(loadedEnd + nameBytes.byteLength + padding.byteLength), FILE.shoff);
  head.writeUInt16LE(headers.length + 1, FILE.shnum);
  head.writeUInt16LE(headers.length, FILE.shstrndx);
  return Buffer.concat([head, nameBytes, padding, ...headers, namesHeader]);
}

function requireElf64(file: Buffer): void {
  const fits =
    file.byteLength > 64 &&
    file.toString('hex', 0, 4) === MAGIC &&
    file.toString('hex', 4, 6) === CLASS_AND_ORDER &&
    file.readUInt16LE(FILE.phentsize) === PROGRAM_HEADER_BYTES &&
    file.readUInt16LE(FILE.shentsize) === SECTION_HEADER_BYTES;
  if (!fits) throw new Error('this is no ELF executable of 64 bits, little-endian');
}

/** Where the last byte stands that is loaded, plus one. */
function endOfLoaded(file: Buffer): number {
  const at = Number(file.readBigUInt64LE(FILE.phoff));
  let end = 0;
  for (let index = 0; index < file.readUInt16LE(FILE.phnum); index += 1) {
    const header = file.subarray(at + index * PROGRAM_HEADER_BYTES);
    if (header.readUInt32LE(PROGRAM.type) !== PT_LOAD) continue;
    end = Math.max(
      end,
      Number(header.readBigUInt64LE(PROGRAM.offset)) + Number(header.readBigUInt64LE(PROGRAM.filesz)),
    );
  }
  return end;
}

function sectionHeaders(file: Buffer): Buffer[] {
  const at = Number(file.readBigUInt64LE(FILE.shoff));
  return Array.from({ length: file.readUInt16LE(FILE.shnum) }, (_, index) => {
    const from = at + index * SECTION_HEADER_BYTES;
    return file.subarray(from, from + SECTION_HEADER_BYTES);
  });
}

function isLoaded(header: Buffer): boolean {
  return (header.readBigUInt64LE(SECTION.flags) & SHF_ALLOC) !== 0n;
}

/** A copy of `header` that points to other sections by their new numbers; those that are gone are none. */
function relinked(header: Buffer, renumbered: ReadonlyMap<number, number>): Buffer {
  const copy = Buffer.from(header);
  copy.writeUInt32LE(renumbered.get(header.readUInt32LE(SECTION.link)) ?? 0, SECTION.link);
  if ((header.readBigUInt64LE(SECTION.flags) & SHF_INFO_LINK) !== 0n)
    copy.writeUInt32LE(renumbered.get(header.readUInt32LE(SECTION.info)) ?? 0, SECTION.info);
  return copy;
}

function contentOf(file: Buffer, header: Buffer): Buffer {
  const from = Number(header.readBigUInt64LE(SECTION.offset));
  return file.subarray(from, from + Number(header.readBigUInt64LE(SECTION.size)));
}
