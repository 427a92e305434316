import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { cpuPercent, memoryUsed } from '../../../../server/cli/containers.ts';
import { bytes, duration, relative } from '../../../../server/cli/format.ts';
import { records } from '../../../../server/cli/ndjson.ts';
import { facts, table } from '../../../../server/cli/table.ts';
import { dockerTime } from '../../../../server/cli/time.ts';
import { serverUrl } from '../../../../server/cli/trust.ts';
import { printable } from '../../../../shared/printable.ts';

const NOW = Date.parse('2030-01-01T00:00:00Z');

describe('tables', () => {
  it('align columns by their widest cell and leave no space at line ends', () => {
    const rows = [
      { a: 'x', b: 1 },
      { a: 'wider', b: undefined },
    ];
    const text = table(rows, [
      ['A', (row) => row.a],
      ['NUMBER', (row) => row.b],
    ]);
    assert.equal(text, 'A      NUMBER\nx      1\nwider  -\n');
  });

  it('show the headings of an empty list', () => {
    assert.equal(table([], [['A', () => '']]), 'A\n');
  });

  it('let no host drive the terminal', () => {
    assert.equal(printable('a\u001b[2Jb\r\nc\u009b'), 'a�[2Jb��c�');
    assert.ok(!table([{ name: '\u001b]0;x\u0007' }], [['N', (row) => row.name]]).includes('\u001b'));
  });

  it('leave facts out that are not known', () => {
    assert.equal(
      facts([
        ['Name', 'a'],
        ['Nothing', undefined],
        ['Id', 7],
      ]),
      'Name:  a\nId:    7\n',
    );
  });
});

describe('times and sizes', () => {
  it('take the largest whole unit', () => {
    assert.deepEqual([0, 59_999, 60_000, 7_200_000, 200_000_000].map(duration), ['0s', '59s', '1m', '2h', '2d']);
    assert.equal(relative('2029-12-31T23:55:00Z', NOW), '5m ago');
    assert.equal(relative(NOW + 3_600_000, NOW), 'in 1h');
    assert.equal(relative(null, NOW), undefined);
    assert.equal(relative('rubbish', NOW), undefined);
    assert.deepEqual([0, 1023, 1536, 5 * 1024 ** 3].map(bytes), ['0 B', '1023 B', '1.5 KiB', '5.0 GiB']);
  });

  it('turn durations into Unix seconds and leave times as they are', () => {
    assert.equal(dockerTime('1h30m', NOW), (NOW / 1000 - 5400).toFixed(3));
    assert.equal(dockerTime('1700000000.5', NOW), '1700000000.5');
    assert.equal(dockerTime('2026-01-02T03:04:05Z', NOW), '2026-01-02T03:04:05Z');
    assert.throws(() => dockerTime('yesterday', NOW), /no time/);
  });
});

describe('statistics', () => {
  it('count CPU between two readings and memory without cache, as docker stats does', () => {
    const sample = {
      cpu_stats: { cpu_usage: { total_usage: 300 }, system_cpu_usage: 2000, online_cpus: 2 },
      precpu_stats: { cpu_usage: { total_usage: 100 }, system_cpu_usage: 1000 },
      memory_stats: { usage: 100, limit: 200, stats: { inactive_file: 40 } },
    };
    assert.equal(cpuPercent(sample), 40);
    assert.equal(memoryUsed(sample), 60);
    assert.equal(cpuPercent({ cpu_stats: sample.cpu_stats }), undefined);
  });
});

describe('records', () => {
  async function read(chunks: (string | Uint8Array)[]): Promise<unknown[]> {
    async function* source() {
      for (const chunk of chunks) yield Buffer.from(chunk);
    }
    return await Array.fromAsync(records(source()));
  }

  it('come whole however they are cut', async () => {
    const text = Buffer.from('{"line":"ä"}\n\n{"line":"b"}\n{"line":"c"}');
    for (let cut = 0; cut <= text.length; cut++) {
      const found = await read([text.subarray(0, cut), text.subarray(cut)]);
      assert.deepEqual(found, [{ line: 'ä' }, { line: 'b' }, { line: 'c' }]);
    }
  });

  it('may tell of errors of what they are about', async () => {
    const failed = { id: 'a', state: 'failed', error: { code: 'CONFLICT', detail: 'in use' } };
    assert.deepEqual(await read([JSON.stringify(failed)]), [failed]);
  });

  it('end in the error that the server tells last', async () => {
    const last = '{"error":{"code":"HOST_OFFLINE","detail":"gone"}}\n';
    await assert.rejects(read(['{"line":"a"}\n', last]), { code: 'HOST_OFFLINE', message: 'gone' });
  });
});

describe('server URLs', () => {
  it('are https, or http to this machine alone', () => {
    assert.equal(serverUrl('fairlead.example:8440').href, 'https://fairlead.example:8440/');
    assert.equal(serverUrl('https://h/base/').href, 'https://h/base');
    for (const text of ['http://localhost:1', 'http://127.0.0.2', 'http://[::1]:8']) assert.ok(serverUrl(text));
    for (const text of ['http://10.0.0.1', 'http://localhost.evil.example', 'ftp://x', 'https://u:p@h', 'https://']) {
      assert.throws(() => serverUrl(text), { name: 'CliError', exitCode: 2 }, text);
    }
  });
});
