/** A connection that Docker has handed over: its head as the client gets it, and bytes both ways with an end of their own. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type Duplex, duplexPair } from 'node:stream';
import { type TestContext, test } from 'node:test';
import type { DockerStream } from '../../../../server/docker-proxy/answer.ts';
import { runTunnel, upgradeHead } from '../../../../server/docker-proxy/tunnel.ts';
import { FairleadError, isFairleadError } from '../../../../shared/errors.ts';
import { waitFor, within } from '../../../support/wait.ts';
import { hostStream } from './hostile-host.ts';

const HEAD = 'HTTP/1.1 101 UPGRADED\r\n\r\n';
const coded = (code: Parameters<typeof isFairleadError>[1]) => (error: unknown) => isFairleadError(error, code);

/** The lines of a head, without the guards that every answer has. */
function lines(reply: Parameters<typeof hostStream>[0], protocol = 'tcp'): string[] {
  const head = upgradeHead(hostStream({ upgraded: true, ...reply }).stream, protocol, 'r1');
  assert.ok(head.endsWith('\r\n\r\n'));
  const guards = /^(?:x-content-type-options|content-security-policy|cache-control|x-request-id): /;
  return head
    .slice(0, -4)
    .split('\r\n')
    .filter((line) => !guards.test(line));
}

interface Joined {
  /** The client's end, and the host's. */
  readonly client: Duplex;
  readonly host: Duplex;
  readonly socket: Duplex;
  /** The host's stream, as the server has it. */
  readonly bytes: Duplex;
  readonly trailer: PromiseWithResolvers<unknown>;
  readonly abort: AbortController;
  readonly done: Promise<void>;
}

function joined(t: TestContext): Joined {
  const [socket, client] = duplexPair();
  const [bytes, host] = duplexPair();
  const trailer = Promise.withResolvers<unknown>();
  trailer.promise.catch(() => undefined);
  const abort = new AbortController();
  for (const end of [socket, client, bytes, host]) end.on('error', () => undefined);
  const done = runTunnel(socket, HEAD, { bytes, trailer: trailer.promise } as unknown as DockerStream, abort.signal);
  done.catch(() => undefined);
  t.after(() => {
    for (const end of [socket, client, bytes, host]) end.destroy();
  });
  return { client, host, socket, bytes, trailer, abort, done };
}

test('the head says the upgrade in words of this server, and the rest in those of Docker', () => {
  const headers: [string, string][] = [
    ['Content-Type', 'application/vnd.docker.raw-stream'],
    ['Api-Version', '1.41'],
    ['Connection', 'x'],
    ['Upgrade', 'evil'],
    ['Transfer-Encoding', 'chunked'],
    ['Set-Cookie', 'session=x'],
    ['Access-Control-Allow-Origin', '*'],
    ['X-Latin', 'caf\xe9'],
  ];
  const docker = ['Content-Type: application/vnd.docker.raw-stream', 'Api-Version: 1.41', 'X-Latin: caf\xe9'];
  const upgrade = ['Connection: Upgrade', 'Upgrade: h2c'];
  assert.deepEqual(lines({ status: 101, reason: 'UPGRADED', headers }, 'h2c'), [
    'HTTP/1.1 101 UPGRADED',
    ...upgrade,
    ...docker,
  ]);
  assert.deepEqual(lines({ status: 200, reason: 'OK', headers }, 'h2c'), ['HTTP/1.1 200 OK', ...docker]);
});

test('an upgrade with a status that is none is an error', () => {
  for (const status of [100, 102, 204, 400, 500]) {
    assert.throws(() => lines({ status }), coded('DOCKER_ERROR'), String(status));
  }
});

test('no host writes a line of the head by what stands in another', () => {
  const isForged = (line: string) => /^(?:set-cookie|x-forged):?/i.test(line);
  // As the head is written: in latin1, that keeps the lower byte of each character.
  const asWritten = (reply: Parameters<typeof hostStream>[0]) => {
    try {
      const { stream } = hostStream({ upgraded: true, status: 101, ...reply });
      return Buffer.from(upgradeHead(stream, 'tcp', 'r1'), 'latin1')
        .toString('latin1')
        .split('\r\n');
    } catch (error) {
      assert.ok(error instanceof FairleadError);
      return [];
    }
  };
  for (const reason of ['OK\r\nSet-Cookie: a=b', 'OK\r\n\r\nX-Forged: 1', 'OK\u010d\u010aSet-Cookie: a=b']) {
    assert.deepEqual(asWritten({ reason }).filter(isForged), [], JSON.stringify(reason));
  }
  const headers: [string, string][] = [['X-A', 'x\u010d\u010aSet-Cookie: a=b']];
  assert.deepEqual(asWritten({ headers }).filter(isForged), []);
});

/** All that came at an end of a pair so far. */
function received(end: Duplex): { text: string; hasEnded: boolean } {
  const found = { text: '', hasEnded: false };
  end.on('data', (chunk) => {
    found.text += chunk;
  });
  end.on('end', () => {
    found.hasEnded = true;
  });
  return found;
}

test('the head comes first, then bytes both ways, each with an end of its own', async (t) => {
  const { client, host, trailer, done } = joined(t);
  const [input, output] = [received(host), received(client)];
  client.end('in');
  await waitFor('the end of the input', () => input.hasEnded);
  assert.equal(input.text, 'in');
  host.end('out after the end of the input');
  trailer.resolve({});
  await within(5_000, 'the end', done);
  await waitFor('the output', () => output.text === `${HEAD}out after the end of the input`);
});

test('Docker may end first, while the client still writes', async (t) => {
  const { client, host, socket, trailer, done } = joined(t);
  const output = received(client);
  client.write('in');
  host.end('out');
  trailer.resolve({});
  await within(5_000, 'the end', done);
  assert.equal(socket.writableEnded, false, 'the caller closes it');
  await waitFor('the output', () => output.text === `${HEAD}out`);
});

test('an end without the trailer is none', async (t) => {
  const { host, trailer, done } = joined(t);
  host.end('out');
  trailer.reject(new FairleadError('STREAM_INTERRUPTED', 'lost'));
  await assert.rejects(within(5_000, 'the end', done), coded('STREAM_INTERRUPTED'));
});

test('a host, a client or a signal that breaks off fails the tunnel', async (t) => {
  const lost = joined(t);
  lost.host.write('half');
  await once(lost.client, 'readable');
  lost.bytes.destroy(new FairleadError('HOST_OFFLINE', 'lost'));
  await assert.rejects(within(5_000, 'the end', lost.done), coded('HOST_OFFLINE'));
  const left = joined(t);
  left.socket.destroy();
  await assert.rejects(within(5_000, 'the end', left.done), coded('STREAM_INTERRUPTED'));
  const ended = joined(t);
  ended.abort.abort(new FairleadError('UNAUTHORIZED', 'revoked'));
  await assert.rejects(within(5_000, 'the end', ended.done), coded('UNAUTHORIZED'));
});
