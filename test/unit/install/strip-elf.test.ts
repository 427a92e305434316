import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { NODE_VERSION } from '../../../install/build/node-binary.ts';
import { stripElf } from '../../../install/build/strip-elf.ts';
import pinned from '../../../install/node/package.json' with { type: 'json' };
import { tempDir } from '../../support/tmp.ts';

/** The sections of an ELF file of 64 bits by name, in the reader's own words. */
function sectionsOf(file: Buffer): Map<string, { type: number; from: number; size: number; link: string }> {
  const at = Number(file.readBigUInt64LE(40));
  const headers = Array.from({ length: file.readUInt16LE(60) }, (_, index) => file.subarray(at + index * 64));
  const names = Number(headers[file.readUInt16LE(62)]?.readBigUInt64LE(24));
  const nameOf = (header: Buffer | undefined) => {
    const from = names + (header?.readUInt32LE(0) ?? 0);
    return file.toString('latin1', from, file.indexOf(0, from));
  };
  return new Map(
    headers.map((header) => [
      nameOf(header),
      {
        type: header.readUInt32LE(4),
        from: Number(header.readBigUInt64LE(24)),
        size: Number(header.readBigUInt64LE(32)),
        link: nameOf(headers[header.readUInt32LE(40)]),
      },
    ]),
  );
}

describe('stripping an executable', () => {
  it('takes out symbols and debug information, and leaves what runs', async (t) => {
    const whole = await readFile(process.execPath);
    const stripped = stripElf(whole);
    assert.ok(stripped.byteLength < 0.85 * whole.byteLength, `${stripped.byteLength} of ${whole.byteLength} bytes`);
    const [before, after] = [sectionsOf(whole), sectionsOf(stripped)];
    for (const name of ['.symtab', '.strtab', '.debug_info']) assert.ok(before.has(name) && !after.has(name), name);
    for (const name of ['.text', '.rodata', '.dynsym', '.rela.plt', '.dynamic', '.data']) {
      assert.deepEqual(after.get(name), before.get(name), name);
    }
    const file = join(await tempDir(t), 'node');
    await writeFile(file, stripped, { mode: 0o755 });
    assert.ok((await stat(file)).size === stripped.byteLength);
    assert.equal(execFileSync(file, ['-p', '6 * 7'], { encoding: 'utf8' }), '42\n');
  });

  it('refuses what is no such file', () => {
    assert.throws(() => stripElf(Buffer.from('#!/bin/sh\n'.repeat(20))), /no ELF executable of 64 bits/);
    assert.throws(() => stripElf(Buffer.alloc(0)), /no ELF executable of 64 bits/);
  });
});

it('the Node of executables is the one that install/node/package.json pins', () => {
  assert.deepEqual(new Set(Object.values(pinned.optionalDependencies)), new Set([NODE_VERSION]));
});
