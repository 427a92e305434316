/** The tables of shared/PROTOCOL.md and the constants of the code say the same. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ERRORS } from '../../../../shared/errors.ts';
import * as limits from '../../../../shared/limits.ts';
import { CONTROL_KINDS } from '../../../../shared/messages/control.ts';
import { STREAM_KINDS, SUBPROTOCOL } from '../../../../shared/messages/index.ts';
import type { StreamKind } from '../../../../shared/messages/kind.ts';
import { MECHANICS } from '../../../../shared/messages/mechanics.ts';
import { FLAGS } from '../../../../shared/mux/frame.ts';
import { STREAM_EVENTS, STREAM_STATES, TRANSITIONS } from '../../../../shared/mux/states.ts';

const constants = new Map<string, unknown>(Object.entries(limits));
const text = readFileSync(new URL('../../../../shared/PROTOCOL.md', import.meta.url), 'utf8');

/** The rows of the table under a heading, without head and rule; backquotes are dropped. */
function table(heading: string): string[][] {
  const section = text.split(/^#+ /m).find((part) => part.startsWith(`${heading}\n`));
  assert.ok(section, `no section ${heading}`);
  const rows = section
    .split('\n')
    .filter((line) => line.startsWith('|'))
    .map((line) =>
      line
        .slice(1, -1)
        .split('|')
        .map((cell) => cell.replaceAll('`', '').trim()),
    );
  return rows.filter((_, index) => index !== 1);
}

const rowsOf = (heading: string) => table(heading).slice(1);
const hex = (code: number) => `0x${code.toString(16).padStart(4, '0')}`;

test('flags', () => {
  const rows = rowsOf('Flags').map(([name, value]) => [name, value]);
  assert.deepEqual(
    rows,
    Object.entries(FLAGS).map(([name, value]) => [name, hex(value)]),
  );
});

test('control types', () => {
  assert.deepEqual(
    rowsOf('Control: on stream 0'),
    CONTROL_KINDS.map((kind) => [kind.name, hex(kind.code), kind.from]),
  );
});

test('mechanics', () => {
  const rows = rowsOf('Mechanics: what makes streams work').map(([name, code]) => [name, code]);
  assert.deepEqual(
    rows,
    Object.entries(MECHANICS).map(([name, code]) => [name, hex(code)]),
  );
});

test('kinds of streams', () => {
  const yes = (value: unknown) => (value === undefined ? 'no' : 'yes');
  const kinds: readonly StreamKind[] = STREAM_KINDS;
  assert.deepEqual(
    rowsOf('Kinds: the types of OPEN frames'),
    kinds.map((kind) => [
      kind.name,
      hex(kind.code),
      kind.from,
      kind.priority,
      kind.bytes,
      yes(kind.item),
      yes(kind.signal),
      yes(kind.trailer),
      kind.compressible === true ? 'yes' : 'no',
    ]),
  );
});

test('states and transitions', () => {
  const [head, ...rows] = table('States');
  assert.deepEqual(head, ['state', ...STREAM_EVENTS]);
  assert.deepEqual(
    rows,
    STREAM_STATES.map((state) => [state, ...STREAM_EVENTS.map((event) => TRANSITIONS[state][event] ?? '–')]),
  );
});

test('codes of goaway exist', () => {
  const rows = rowsOf('The end');
  assert.ok(rows.length > 10);
  for (const [code = ''] of rows) assert.ok(Object.hasOwn(ERRORS, code), code);
});

test('limits', () => {
  const units: Record<string, number> = { KiB: 1024, MiB: 1024 * 1024, ms: 1, '': 1 };
  const rows = rowsOf('Limits');
  assert.ok(rows.length > 20);
  for (const [, value = '', name = ''] of rows) {
    const [number = '', unit = ''] = value.split(' ');
    assert.equal(Number(number) * (units[unit] ?? Number.NaN), constants.get(name), name);
  }
});

test('the subprotocol', () => {
  assert.ok(text.includes(`subprotocol \`${SUBPROTOCOL}\``));
});
