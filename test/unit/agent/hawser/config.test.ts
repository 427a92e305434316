import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { RunFlags, UsageError } from '../../../../agent/config.ts';
import { hawserConfig } from '../../../../agent/hawser/config.ts';
import { isFairleadError } from '../../../../shared/errors.ts';
import { readFlags } from '../../../../shared/flags.ts';
import { tempDir } from '../../../support/tmp.ts';
import { tlsPair } from './fixture.ts';

const TOKEN = 'from-the-environment-0123456789';
type Given = Record<string, unknown>;

/** @param token what the environment has; null: nothing */
const config = (given: Given, token: string | null = TOKEN) =>
  hawserConfig(readFlags(RunFlags, given, {}), token ?? undefined);

async function files(t: TestContext, contents: Record<string, string>): Promise<Record<string, string>> {
  const dir = await tempDir(t, 'hawser');
  const paths: Record<string, string> = {};
  for (const [name, content] of Object.entries(contents)) {
    paths[name] = join(dir, name);
    await writeFile(join(dir, name), content);
  }
  return paths;
}

test('nothing is served unless it is asked for, and then no token is needed', async () => {
  assert.deepEqual(await config({}, null), {});
});

test('a port alone stays on this machine without TLS', async () => {
  assert.deepEqual(await config({ hawserStandard: '2376' }), {
    standard: { host: '127.0.0.1', port: 2376, token: TOKEN },
  });
  const { standard } = await config({ hawserStandard: '[::1]:0' });
  assert.deepEqual([standard?.host, standard?.port], ['::1', 0]);
  const open = await config({ hawserStandard: '2376', hawserInsecurePlaintext: true });
  assert.equal(open.standard?.host, '::');
});

test('a port alone is on all addresses with TLS', async (t) => {
  const { cert, key } = await tlsPair();
  const paths = await files(t, { cert, key });
  const tls = { hawserTlsCert: paths['cert'], hawserTlsKey: paths['key'] };
  assert.deepEqual((await config({ hawserStandard: '2376', ...tls })).standard, {
    ...{ host: '::', port: 2376, token: TOKEN },
    tls: { cert, key },
  });
  const swapped = { hawserTlsCert: paths['key'], hawserTlsKey: paths['cert'] };
  const refused = config({ hawserStandard: '2376', ...swapped });
  await assert.rejects(
    refused,
    (error) => isFairleadError(error, 'VALIDATION') && /--hawser-tls-cert/.test(error.message),
  );
});

test('the token comes from a file, or the environment, and is never repeated', async (t) => {
  const {
    good = '',
    short = '',
    spaced = '',
  } = await files(t, {
    ...{
      good: ' from-a-file-0123456789abcdef\n',
      short: 'too-short-secret\n'.slice(4),
      spaced: 'two words that are a secret',
    },
  });
  const given = { hawserStandard: '0' };
  assert.equal((await config({ ...given, hawserTokenFile: good })).standard?.token, 'from-a-file-0123456789abcdef');
  const cases: [Given, string | null][] = [
    [given, null],
    [given, ''],
    [given, 'short-secret'],
    [{ ...given, hawserTokenFile: short }, null],
    [{ ...given, hawserTokenFile: spaced }, null],
    [given, 'x'.repeat(513)],
  ];
  for (const [flags, token] of cases) {
    const isUsage = (error: unknown) => error instanceof UsageError && !/secret|xxx/.test(error.message);
    await assert.rejects(config(flags, token), isUsage, JSON.stringify(flags));
  }
  const missing = config({ ...given, hawserTokenFile: '/no/such/file' });
  await assert.rejects(
    missing,
    (error) => isFairleadError(error) && /--hawser-token-file .*ENOENT/.test(error.message),
  );
});

test('what would send the token in plain text beyond this machine is refused unless it is accepted by name', async () => {
  for (const hawserStandard of ['0.0.0.0:2376', '[::]:2376', 'nas.example:2376']) {
    await assert.rejects(config({ hawserStandard }), /--hawser-insecure-plaintext/);
    await config({ hawserStandard, hawserInsecurePlaintext: true });
  }
  await assert.rejects(config({ hawserEdge: 'ws://dock.example/api/hawser/connect' }), /--hawser-insecure-plaintext/);
  await config({ hawserEdge: 'ws://dock.example/x', hawserInsecurePlaintext: true });
  await config({ hawserEdge: 'ws://127.0.0.1:3000/x' });
});

test('wrong addresses are named', async (t) => {
  const { none = '' } = await files(t, { none: 'no certificate' });
  const cases: [Given, RegExp][] = [
    [{ hawserStandard: 'nas' }, /--hawser-standard must be/],
    [{ hawserStandard: '1:2:3' }, /--hawser-standard must be/],
    [{ hawserStandard: '[x]:1' }, /--hawser-standard must be/],
    [{ hawserStandard: '65536' }, /--hawser-standard must be/],
    [{ hawserStandard: '1', hawserTlsKey: none }, /go together/],
    [{ hawserEdge: 'https://dock.example' }, /wss:/],
    [{ hawserEdge: 'dock.example' }, /wss:/],
    [{ hawserEdge: 'wss://user:secret@dock.example' }, /password/],
    [{ hawserEdge: 'wss://dock.example', hawserCaFile: none }, /no certificate/],
  ];
  for (const [given, text] of cases) await assert.rejects(config(given), text, JSON.stringify(given));
  assert.deepEqual(await config({ hawserEdge: 'wss://dock.example/api/hawser/connect' }), {
    edge: { url: 'wss://dock.example/api/hawser/connect', token: TOKEN },
  });
});
