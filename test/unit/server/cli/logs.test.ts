/** `logs`: what comes of a log or of those of a stack, how it goes on when it is broken off, and how it ends. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { PassThrough } from 'node:stream';
import { before, describe, it } from 'node:test';
import { dockerFrame } from '../../../support/docker-frames.ts';
import { waitFor } from '../../../support/wait.ts';
import { fakeApi, fakeIo, type Handler, type Identity, makeIdentity, problem, runAgainst } from './fixtures.ts';

const LOGS = 'GET /api/v1/hosts/h/containers/c/logs';
let identity: Identity;

before(async () => {
  identity = await makeIdentity();
});

describe('logs', () => {
  it('arrive byte for byte', async (t) => {
    const server = await fakeApi(t, identity);
    const content = randomBytes(3 * 1024 * 1024);
    server.on(LOGS, (_seen, response) => void response.end(content));
    const { code, io } = await runAgainst(server, ['logs', 'h', 'c', '--tail', '5', '--no-stderr', '-t']);
    assert.equal(code, 0);
    const digest = (data: Buffer) => createHash('sha256').update(data).digest('hex');
    assert.equal(digest(Buffer.concat(io.bytes)), digest(content));
    assert.equal(server.requests.at(-1)?.url.search, '?tail=5&stderr=0&timestamps=1');
  });

  it('that break off are a failure, never an end', async (t) => {
    const server = await fakeApi(t, identity);
    server.on(LOGS, (_seen, response) => {
      response.write('half a line');
      setImmediate(() => response.destroy());
    });
    for (const args of [[], ['--separate'], ['-f', '--no-resume']]) {
      const { code, err } = await runAgainst(server, ['logs', 'h', 'c', ...args]);
      assert.equal(code, 1);
      assert.match(err, /broke off.*STREAM_INTERRUPTED/);
    }
  });

  it('that are followed go on over lost answers and a server that is away, from where they stopped', async (t) => {
    const server = await fakeApi(t, identity);
    const entry = (second: number, stream: 1 | 2, text: string) =>
      dockerFrame(stream, `2026-01-02T03:04:0${second}.000000000Z ${text}`);
    const log = [entry(1, 1, 'one\n'), entry(1, 2, 'err\n'), entry(2, 1, 'two\n'), entry(3, 1, 'three\n')];
    const id = 'ab'.repeat(32);
    let asked = 0;
    const answer: Handler = ({ url }, response) => {
      asked++;
      if (asked % 4 === 2) return void response.destroy();
      if (asked % 4 === 3) return problem(response, 503, 'HOST_OFFLINE', 'the host is not connected');
      response.setHeader('content-type', 'application/vnd.docker.multiplexed-stream');
      response.setHeader('x-fairlead-container-id', id);
      if (asked % 4 === 0) {
        assert.equal(url.search, '?follow=1&since=1767323039.000000000&timestamps=1');
        return void response.end(Buffer.concat(log));
      }
      assert.equal(url.search, '?follow=1&tail=9&timestamps=1');
      response.write(Buffer.concat(log).subarray(0, 105));
      setTimeout(() => response.destroy(), 20);
    };
    server.on(LOGS, answer);
    server.on(`GET /api/v1/hosts/h/containers/${id}/logs`, answer);
    const plain = await runAgainst(server, ['logs', 'h', 'c', '-f', '--tail', '9']);
    assert.deepEqual([plain.code, plain.out], [0, 'one\nerr\ntwo\nthree\n']);
    assert.match(plain.err, /^fairlead: the answer broke off.*trying again.*\nfairlead: connected again.*\n$/);
    const apart = await runAgainst(server, ['logs', 'h', 'c', '-f', '--tail', '9', '--json']);
    assert.deepEqual(
      apart.out
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line).line),
      ['one', 'err', 'two', 'three'],
    );
  });

  it('that were rotated meanwhile go on, which is told on stderr, and fail at their end', async (t) => {
    const server = await fakeApi(t, identity);
    let asked = 0;
    server.on(LOGS, (_seen, response) => {
      response.setHeader('content-type', 'application/vnd.docker.multiplexed-stream');
      if (asked++ % 2 === 1) return void response.end(dockerFrame(1, '2026-01-02T03:04:09.000000000Z new\n'));
      response.write(dockerFrame(1, '2026-01-02T03:04:01.000000000Z one is cut\n').subarray(0, 45));
      setTimeout(() => response.destroy(), 20);
    });
    const told =
      /what the log had after 2026-01-02T03:04:01.000000000Z is not whole.*; it goes on with what there is\n/;
    for (const flags of [[], ['--separate']]) {
      const { code, out, err } = await runAgainst(server, ['logs', 'h', 'c', '-f', ...flags]);
      assert.deepEqual([code, out], [1, 'one is\nnew\n']);
      assert.match(err, told);
      assert.match(err, /rotated.*\(DOCKER_ERROR\)\n$/);
    }
    const { code, out } = await runAgainst(server, ['logs', 'h', 'c', '-f', '--json']);
    const records = out
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    assert.equal(code, 1);
    assert.deepEqual(
      records.map(({ line, gap }) => line ?? gap.after),
      ['one is', '2026-01-02T03:04:01.000000000Z', 'new'],
    );
    assert.equal(asked, 6);
  });

  it('of a stack go on when the server was away, each container from where it was, and tell of a gap', async (t) => {
    const server = await fakeApi(t, identity);
    const [web, db] = ['a'.repeat(64), 'b'.repeat(64)];
    const line = (id: string, n: number, text: string) =>
      `${JSON.stringify({ service: 's', container: id.slice(0, 2), id, stream: 'stdout', time: `2026-01-02T03:04:0${n}.000000000Z`, line: text })}\n`;
    let asked = 0;
    server.on('GET /api/v1/hosts/h/stacks/shop/logs', ({ url }, response) => {
      asked++;
      if (asked % 3 === 2) return problem(response, 503, 'HOST_OFFLINE', 'the host is not connected');
      response.setHeader('content-type', 'application/x-ndjson');
      response.setHeader('x-fairlead-log-opened', '2026-01-02T03:04:00.000Z');
      if (asked % 3 === 1) {
        assert.equal(url.search, '?service=s&follow=1&tail=9');
        response.write(line(web, 1, 'one') + line(db, 2, 'two'));
        return void setTimeout(() => response.destroy(), 20);
      }
      assert.deepEqual(
        [url.searchParams.get('tail'), url.searchParams.get('since'), url.searchParams.getAll('read')],
        [null, '2026-01-02T03:04:00.000Z', [`${web}@1767323039.000000000`, `${db}@1767323040.000000000`]],
      );
      response.end(line(web, 1, 'one') + line(db, 2, 'two') + line(web, 3, 'three') + line(db, 9, 'four'));
    });
    const args = ['stack', 'logs', 'h', 'shop', '-f', '--tail', '9', '-s', 's'];
    const plain = await runAgainst(server, args);
    assert.deepEqual([plain.code, plain.out], [0, 'aa | one\nbb | two\naa | three\nbb | four\n']);
    assert.match(plain.err, /^fairlead: the answer broke off.*trying again.*\nfairlead: connected again.*\n$/);
    const ended = await runAgainst(server, [...args, '--json']);
    assert.deepEqual(
      ended.out
        .trim()
        .split('\n')
        .map((text) => JSON.parse(text).line),
      ['one', 'two', 'three', 'four'],
    );

    const gap = { gap: { service: 's', container: 'bb', id: db, after: '1', detail: 'what the log had is not whole' } };
    server.on('GET /api/v1/hosts/h/stacks/shop/logs', (_seen, response) => {
      response.end(`${line(web, 1, 'one')}${JSON.stringify(gap)}\n${line(db, 2, 'two')}`);
    });
    const rotated = await runAgainst(server, args);
    assert.deepEqual([rotated.code, rotated.out], [1, 'aa | one\nbb | two\n']);
    assert.match(rotated.err, /^fairlead: bb: what the log had is not whole; it goes on.*\n.*\(DOCKER_ERROR\)\n$/);
  });

  it('of a stack end at once with --no-resume', async (t) => {
    const server = await fakeApi(t, identity);
    server.on('GET /api/v1/hosts/h/stacks/shop/logs', ({ url }, response) => {
      assert.equal(url.search, '?follow=1&resume=0');
      response.write('web | one\n');
      setTimeout(() => response.destroy(), 20);
    });
    const { code, out, err } = await runAgainst(server, ['stack', 'logs', 'h', 'shop', '-f', '--no-resume']);
    assert.deepEqual([code, out], [1, 'web | one\n']);
    assert.match(err, /STREAM_INTERRUPTED/);
  });

  it('that are followed end with what is no interruption', async (t) => {
    const server = await fakeApi(t, identity);
    let asked = 0;
    server.on(LOGS, (_seen, response) => {
      if (asked++ > 0) return problem(response, 401, 'UNAUTHORIZED', 'the token is not valid');
      response.setHeader('content-type', 'application/vnd.docker.raw-stream');
      response.write('2026-01-02T03:04:01.000000000Z one\r\n');
      setTimeout(() => response.destroy(), 20);
    });
    const { code, out, err } = await runAgainst(server, ['logs', 'h', 'c', '-f']);
    assert.deepEqual([code, out], [1, 'one\r\n']);
    assert.match(err, /the token is not valid \(UNAUTHORIZED\)\n$/);
  });

  it('are kept apart with --separate, long lines in one piece', async (t) => {
    const server = await fakeApi(t, identity);
    const lines = [
      { stream: 'stdout', line: 'one' },
      { stream: 'stderr', time: 'T1', line: 'err ', partial: true },
      { stream: 'stdout', line: 'two' },
      { stream: 'stderr', time: 'T2', line: 'or' },
    ];
    server.on(LOGS, (_seen, response) => void response.end(lines.map((line) => `${JSON.stringify(line)}\n`).join('')));
    const { out, err } = await runAgainst(server, ['logs', 'h', 'c', '--separate']);
    assert.deepEqual([out, err], ['one\ntwo\n', 'T1 err or\n']);
    const json = await runAgainst(server, ['logs', 'h', 'c', '--json']);
    assert.deepEqual(
      json.out
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line)),
      lines,
    );
  });

  it('stop reading while the reader of their output is behind', async (t) => {
    const server = await fakeApi(t, identity);
    const chunk = Buffer.alloc(256 * 1024, 'x');
    let sent = 0;
    server.on(LOGS, (_seen, response) => {
      const more = () => {
        while (sent < 200 && !response.destroyed) {
          sent++;
          if (!response.write(chunk)) return void response.once('drain', more);
        }
        response.end();
      };
      more();
    });
    const env = { FAIRLEAD_SERVER: server.url, FAIRLEAD_API_TOKEN: identity.token, HOME: '/nonexistent' };
    const stdout = new PassThrough({ highWaterMark: 64 * 1024 });
    const io = { ...fakeIo(env), stdout };
    const done = runAgainst(server, ['logs', 'h', 'c'], { io });
    await settled(() => sent);
    assert.ok(sent < 150, `${sent} of 200 chunks were taken though nobody reads`);
    let received = 0;
    stdout.on('data', (data: Buffer) => {
      received += data.length;
    });
    assert.equal((await done).code, 0);
    await waitFor('all bytes', () => received === 200 * chunk.length);
  });
});

/** Waits until `value` has stopped changing. */
async function settled(value: () => number): Promise<void> {
  let last = 0;
  const stands = () => {
    const now = value();
    const same = now > 0 && now === last;
    last = now;
    return same;
  };
  await waitFor('a standstill', stands, { everyMs: 300 });
}
