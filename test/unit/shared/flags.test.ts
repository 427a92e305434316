/** Flags from a schema: what parsers are told, and what texts become. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import Type from 'typebox';
import { choice, flagsOf, readFlags } from '../../../shared/flags.ts';

const Schema = Type.Object({
  dataDir: Type.String({ description: 'where', default: './data', metavar: 'dir' }),
  port: Type.Integer({ description: 'which', default: 80, minimum: 0, maximum: 65535, expects: 'a port' }),
  tags: Type.Array(Type.String({ pattern: '^[a-z]+$' }), { description: 'tags', default: [] }),
  mode: choice(['on', 'off'], { description: 'how', default: 'on' }),
  loud: Type.Boolean({ description: 'noise', default: false }),
  name: Type.Optional(Type.String({ description: 'who' })),
});

test('parsers learn name, form, meaning, default and variable of each flag', () => {
  assert.deepEqual(flagsOf(Schema), [
    {
      key: 'dataDir',
      name: '--data-dir',
      syntax: '--data-dir <dir>',
      description: 'where (default: ./data, env: FAIRLEAD_DATA_DIR)',
      env: 'FAIRLEAD_DATA_DIR',
      repeatable: false,
    },
    {
      key: 'port',
      name: '--port',
      syntax: '--port <value>',
      description: 'which (default: 80, env: FAIRLEAD_PORT)',
      env: 'FAIRLEAD_PORT',
      repeatable: false,
    },
    {
      key: 'tags',
      name: '--tags',
      syntax: '--tags <value>',
      description: 'tags (env: FAIRLEAD_TAGS)',
      env: 'FAIRLEAD_TAGS',
      repeatable: true,
    },
    {
      key: 'mode',
      name: '--mode',
      syntax: '--mode <on|off>',
      description: 'how (default: on, env: FAIRLEAD_MODE)',
      env: 'FAIRLEAD_MODE',
      repeatable: false,
    },
    {
      key: 'loud',
      name: '--loud',
      syntax: '--loud',
      description: 'noise (env: FAIRLEAD_LOUD)',
      env: 'FAIRLEAD_LOUD',
      repeatable: false,
    },
    {
      key: 'name',
      name: '--name',
      syntax: '--name <value>',
      description: 'who (env: FAIRLEAD_NAME)',
      env: 'FAIRLEAD_NAME',
      repeatable: false,
    },
  ]);
});

test('defaults, then the environment, then flags', () => {
  const defaults = { dataDir: './data', port: 80, tags: [], mode: 'on', loud: false };
  assert.deepEqual(readFlags(Schema, {}, {}), defaults);
  const env = {
    FAIRLEAD_DATA_DIR: '/env',
    FAIRLEAD_PORT: '81',
    FAIRLEAD_TAGS: 'a, b,,c',
    FAIRLEAD_MODE: 'off',
    FAIRLEAD_LOUD: 'yes',
    FAIRLEAD_NAME: '',
    OTHER: 'x',
  };
  const fromEnv = { dataDir: '/env', port: 81, tags: ['a', 'b', 'c'], mode: 'off', loud: true };
  assert.deepEqual(readFlags(Schema, {}, env), fromEnv);
  const given = { dataDir: '/flag', port: '82', tags: ['x', 'y,z'], mode: 'on', loud: true, name: 'n', stray: 1 };
  assert.deepEqual(readFlags(Schema, given, env), {
    dataDir: '/flag',
    port: 82,
    tags: ['x', 'y', 'z'],
    mode: 'on',
    loud: true,
    name: 'n',
  });
  for (const no of ['false', '0', 'off', 'No']) assert.equal(readFlags(Schema, {}, { FAIRLEAD_LOUD: no }).loud, false);
});

test('what does not fit is named with its source and what was expected', () => {
  const fails = (given: object, env: object, message: string) =>
    assert.throws(() => readFlags(Schema, { ...given }, { ...env }), { code: 'VALIDATION', message });
  fails({ port: '1e3' }, {}, '--port "1e3" is not valid: it must be a port');
  fails({ port: '65536' }, {}, '--port "65536" is not valid: it must be a port');
  fails({}, { FAIRLEAD_PORT: 'x' }, 'FAIRLEAD_PORT "x" is not valid: it must be a port');
  fails({ mode: 'maybe' }, {}, '--mode "maybe" is not valid: it must be one of on, off');
  fails({}, { FAIRLEAD_LOUD: 'perhaps' }, 'FAIRLEAD_LOUD "perhaps" is not valid: it must be true or false');
  fails({ port: 'fle1.AbC_-9' }, {}, '--port "[token]" is not valid: it must be a port');
  fails({ port: 'x'.repeat(1000) }, {}, `--port "${'x'.repeat(128)}…" is not valid: it must be a port`);
  fails({ tags: ['a', 'B'] }, {}, '--tags "a,B" is not valid: it must be of type array');
});

test('a flag without default that is not optional must be given', () => {
  const Needed = Type.Object({ token: Type.String({ description: 'it' }) });
  assert.throws(() => readFlags(Needed, {}, {}), { code: 'VALIDATION', message: '--token is missing' });
  assert.deepEqual(readFlags(Needed, {}, { FAIRLEAD_TOKEN: 't' }), { token: 't' });
});
