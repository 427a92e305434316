/** What shared/PROTOCOL.md says of fields, rights, ends, resets and limits is what the code does, row for row. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import type { TSchema } from 'typebox';
import { EXIT, finalExit } from '../../../agent/link/outcome.ts';
import { ERRORS, type ErrorCode, FairleadError } from '../../../shared/errors.ts';
import * as limits from '../../../shared/limits.ts';
import { CONTROL_KINDS } from '../../../shared/messages/control.ts';
import { PROTOCOL_VERSIONS, STREAM_KINDS, SUBPROTOCOL } from '../../../shared/messages/index.ts';
import { AckFrequencyValue, AckValue, MECHANICS, ResetValue, WindowValue } from '../../../shared/messages/mechanics.ts';
import { FRAME_HEADER_BYTES } from '../../../shared/mux/frame.ts';
import { isPaidFor } from '../../../shared/mux/peer-budgets.ts';
import { closeCode } from '../../../shared/mux/session-end.ts';

const text = readFileSync(new URL('../../../shared/PROTOCOL.md', import.meta.url), 'utf8');

/** Limits that are no part of the protocol: they belong to certificates and enrollment. */
const NOT_PROTOCOL = [
  'AGENT_CERT_DAYS',
  'SERVER_CERT_DAYS',
  'CA_CERT_DAYS',
  'CERT_BACKDATE_MS',
  'MAX_CSR_BYTES',
  'MAX_TAGS',
];

/** The rows below a heading, without head and rule, as cells without backquotes. */
function rowsOf(heading: string): string[][] {
  const section = text.split(/^#+ /m).find((part) => part.startsWith(`${heading}\n`));
  assert.ok(section, `there is no section "${heading}"`);
  const lines = section.split('\n').filter((line) => line.startsWith('|'));
  assert.ok(lines.length > 2, `there is no table in "${heading}"`);
  return lines.slice(2).map((line) =>
    line
      .slice(1, -1)
      .split('|')
      .map((cell) => cell.replaceAll('`', '').trim()),
  );
}

/** The names of an object schema's properties, with `?` behind those that may be absent. */
function fieldsOf(schema: TSchema): string[] {
  const { properties, required = [] } = schema as unknown as { properties: object; required?: string[] };
  return Object.keys(properties).map((name) => (required.includes(name) ? name : `${name}?`));
}

function known(code: string): ErrorCode {
  assert.ok(Object.hasOwn(ERRORS, code), `${code} is no error code`);
  return code as ErrorCode;
}

test('the version, its subprotocol and the header', () => {
  assert.deepEqual([...PROTOCOL_VERSIONS], [1]);
  assert.ok(text.startsWith(`# Protocol \`${SUBPROTOCOL}\`\n`));
  assert.ok(text.includes(`An ${FRAME_HEADER_BYTES}-byte header`));
});

test('refusals of an upgrade have the status of their code', () => {
  for (const [code = '', status] of rowsOf('Connection')) assert.equal(Number(status), ERRORS[known(code)].status);
});

test('the fields of control messages', () => {
  assert.deepEqual(
    rowsOf('Fields'),
    CONTROL_KINDS.map((kind) => [kind.name, fieldsOf(kind.value).join(' ')]),
  );
});

test('the fields of mechanics', () => {
  const schemas = {
    'stream.window': WindowValue,
    'stream.reset': ResetValue,
    'session.ack': AckValue,
    'session.ack.frequency': AckFrequencyValue,
  };
  const rows = rowsOf('Mechanics: what makes streams work');
  assert.equal(rows.length, Object.keys(MECHANICS).length);
  for (const [name = '', , , body, , payload = ''] of rows) {
    const fields = /^\{(.*)\}/.exec(payload)?.[1]?.split(', ');
    const schema = schemas[name as keyof typeof schemas];
    assert.deepEqual(fields, schema && fieldsOf(schema), name);
    if (schema !== undefined) assert.equal(body, 'no', name);
  }
});

test('who may call each kind', () => {
  assert.deepEqual(
    rowsOf('Who may call them'),
    STREAM_KINDS.map((kind) => [kind.name, kind.role, kind.policy]),
  );
});

test('codes of a reset, and which of them count as an open in vain', () => {
  for (const [code = '', , , counts] of rowsOf('Reset')) {
    const paid = isPaidFor(new FairleadError(known(code), ''), false);
    assert.equal(counts, paid ? 'no' : 'yes', code);
  }
  const listed = rowsOf('Reset').map(([code]) => code);
  for (const code of Object.keys(ERRORS)) {
    if (!isPaidFor(new FairleadError(known(code), ''), false)) assert.ok(listed.includes(code), `${code} is missing`);
  }
});

test('codes of a goaway, the close code of each, and what the agent does', () => {
  const rows = rowsOf('The end');
  for (const [code = '', , , close, then] of rows) {
    assert.equal(Number(close), closeCode(known(code)), code);
    const exit = finalExit({ code, reason: '' });
    assert.equal(then, exit === undefined ? 'comes back' : `exits with ${exit}`, code);
  }
  const listed = rows.map(([code]) => code);
  const special = (Object.keys(ERRORS) as ErrorCode[]).filter(
    (code) => closeCode(code) !== closeCode('SHUTDOWN') || finalExit({ code, reason: '' }) !== undefined,
  );
  for (const code of special) assert.ok(listed.includes(code), `${code} is missing`);
  const exits = rows.flatMap(([, , , , then = '']) => /^exits with (\d)$/.exec(then)?.[1] ?? []);
  assert.deepEqual(exits.map(Number).sort(), [EXIT.revoked, EXIT.version].sort());
});

test('every limit stands in the text, and no other', () => {
  const named = rowsOf('Limits').map(([, , name]) => name);
  assert.deepEqual([...named, ...NOT_PROTOCOL].sort(), Object.keys(limits).sort());
});
