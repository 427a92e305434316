/** Streams of Standard mode over sockets: answers as they come, clients that leave, connections that Docker hands over. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createConnection } from 'node:net';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { FakeClock } from '../../../support/fake-clock.ts';
import { defer } from '../../../support/tmp.ts';
import { waitFor, within } from '../../../support/wait.ts';
import { rawDocker } from '../docker/raw-docker.ts';
import { contextAt, fixture } from './fixture.ts';
import { bare, head, opened, over } from './standard-fixture.ts';

const VERSION_ANSWER = ['HTTP/1.1 200 OK', 'Content-Length: 29', '', '{"Version":"99","Api":"1.41"}'];

test('an answer streams as it comes, without an end of our own, and breaks where Docker breaks', async (t) => {
  const clock = new FakeClock();
  const docker = await rawDocker(t);
  const making = contextAt(t, docker.socket, { clock });
  const probe = await docker.connection();
  await probe.request();
  probe.write(...VERSION_ANSWER);
  const { port } = await opened(t, await making);
  const client = bare(t, port);
  client.write(head('GET', '/containers/x/logs?follow=1'));
  const upstream = await docker.connection(1);
  await upstream.request();
  upstream.write('HTTP/1.1 200 OK', 'Transfer-Encoding: chunked', '', '');
  await waitFor('the head', () => client.received.includes('\r\n\r\n'));
  upstream.write('5', 'first', '');
  await waitFor('the first bytes', () => client.received.includes('first'));
  clock.advance(3_600_000);
  upstream.write('6', 'second', '');
  await waitFor('the second ones', () => client.received.includes('second'));
  upstream.socket.destroy();
  await waitFor('the end', () => client.destroyed || client.readableEnded);
  assert.doesNotMatch(client.received, /\r\n0\r\n\r\n$/, 'it is no clean end');
});

test('a client that leaves ends its call at Docker', async (t) => {
  const left = Promise.withResolvers<void>();
  const { port } = await over(t, (request, response) => {
    request.socket.once('close', () => left.resolve());
    response.write('a log that goes on');
  });
  const client = bare(t, port);
  client.write(head('GET', '/containers/x/logs?follow=1'));
  await waitFor('the log', () => client.received.includes('goes on'));
  client.destroy();
  await within(2_000, 'the end of the call', left.promise);
});

test('a slow reader holds up Docker, and not the memory', async (t) => {
  let written = 0;
  const block = Buffer.alloc(64 * 1024);
  const { port } = await over(t, (_request, response) => {
    const more = () => {
      while (written < 256 * block.byteLength) {
        written += block.byteLength;
        if (!response.write(block)) return void response.once('drain', more);
      }
      response.end();
    };
    more();
  });
  const client = createConnection({ host: '127.0.0.1', port });
  defer(t, async () => void client.destroy());
  client.pause();
  client.write(head('GET', '/containers/x/export', 'Connection: close'));
  let before = -1;
  await waitFor(
    'Docker to be held up',
    () => {
      const isStill = written > 0 && written === before;
      before = written;
      return isStill;
    },
    { everyMs: 200 },
  );
  assert.ok(written < 200 * block.byteLength, `${written} bytes`);
  let bytes = 0;
  client.on('data', (chunk: Buffer) => {
    bytes += chunk.byteLength;
  });
  client.resume();
  await within(5_000, 'the rest', once(client, 'end'));
  assert.ok(bytes > 256 * block.byteLength);
});

test('a connection that Docker hands over is joined, and each half of it ends by itself', async (t) => {
  const received: string[] = [];
  const made = await fixture(t, (_request, response) => response.end('{}'), {
    hijacked: async (connection, request) => {
      received.push(`${request.method} ${request.url} ${await text(request)}`);
      connection.on('data', (chunk: Buffer) => received.push(chunk.toString()));
      // Docker answers once it has seen the end of the input.
      connection.once('end', () => connection.end('the output'));
    },
  });
  const { port } = await opened(t, made);
  for (const [path, body] of [
    ['/exec/abc/start', '{"Detach":false,"Tty":true}'],
    ['/v1.41/containers/abc/attach?stdin=1&stream=1', ''],
  ] as const) {
    received.length = 0;
    const client = bare(t, port);
    client.write(
      `${head('POST', path, 'Connection: Upgrade', 'Upgrade: tcp', `Content-Length: ${body.length}`)}${body}`,
    );
    await waitFor('the upgrade', () => client.received.includes('\r\n\r\n'));
    assert.match(client.received, /^HTTP\/1\.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n/);
    client.write('typed');
    client.end();
    await waitFor('the end', () => client.readableEnded);
    assert.ok(client.received.endsWith('the output'));
    assert.deepEqual([received[0], received.slice(1).join('')], [`POST ${path} ${body}`, 'typed']);
    // All at once, and the end of it before there is an answer.
    received.length = 0;
    const hasty = bare(t, port);
    const length = `Content-Length: ${body.length}`;
    hasty.end(`${head('POST', path, 'Connection: Upgrade', 'Upgrade: tcp', length)}${body}typed`);
    await waitFor('the end', () => hasty.readableEnded);
    assert.match(hasty.received, /^HTTP\/1\.1 101 [\s\S]*the output$/);
    assert.equal(received.slice(1).join(''), 'typed');
  }
});

test('an upgrade that Docker refuses has its status and its body', async (t) => {
  const docker = await rawDocker(t);
  const making = contextAt(t, docker.socket);
  const probe = await docker.connection();
  await probe.request();
  probe.write(...VERSION_ANSWER);
  const { port } = await opened(t, await making);
  const client = bare(t, port);
  client.write(head('POST', '/exec/0000/start', 'Connection: Upgrade', 'Upgrade: tcp', 'Content-Length: 2'));
  client.write('{}');
  const upstream = await waitFor('the call', () =>
    docker.connections.find((one) => one.received.startsWith('POST /exec/0000/start')),
  );
  upstream.write(
    'HTTP/1.1 404 Not Found',
    'Content-Type: application/json',
    'Content-Length: 14',
    '',
    '{"message":""}',
  );
  await waitFor('the end', () => client.readableEnded);
  assert.match(client.received, /^HTTP\/1\.1 404 Not Found\r\n[\s\S]*\{"message":""\}/);
});
