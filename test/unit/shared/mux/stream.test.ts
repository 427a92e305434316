/** Rules of one stream that need two sessions, beyond what the conformance suite shows. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { FairleadError } from '../../../../shared/errors.ts';
import { anyKind, callKind, execKind, logKind, pipeKind, putKind, readAll, settle } from '../../../support/mux.ts';
import { code, fate, open, WINDOW } from './two-ends.ts';

describe('the reply', () => {
  test('comes before everything else, however long it is', async () => {
    using pair = await open(anyKind, null);
    void pair.acceptor.sendItem('early');
    pair.acceptor.sendReply('x'.repeat(200_000));
    pair.acceptor.finish();
    const items: unknown[] = [];
    for await (const item of pair.opener.items()) items.push(item);
    assert.equal(String(await pair.opener.reply).length, 200_000);
    assert.deepEqual(items, ['early']);
    assert.equal(await fate(pair.opener), 'clean');
  });

  test('comes before bytes that were written first', async () => {
    using pair = await open(logKind);
    pair.acceptor.bytes.end('early');
    await settle();
    assert.equal(pair.opener.flow.received, 0);
    pair.acceptor.sendReply({});
    assert.equal((await readAll(pair.opener.bytes)).toString(), 'early');
  });

  test('is given once, and by the acceptor', async () => {
    using pair = await open(pipeKind);
    assert.throws(() => pair.opener.sendReply({}), /acceptor/);
    pair.acceptor.sendReply({});
    assert.throws(() => pair.acceptor.sendReply({}), /twice/);
    assert.equal(await fate(pair.opener), 'open');
  });

  test('that does not fit its schema fails its stream alone', async () => {
    using pair = await open(callKind, { text: '' });
    assert.throws(() => pair.acceptor.sendReply({ text: 1 } as never), code('MESSAGE_INVALID'));
    assert.equal(await fate(pair.opener), 'MESSAGE_INVALID');
    await assert.rejects(pair.opener.reply, code('MESSAGE_INVALID'));
    assert.equal(pair.server.draining, false);
  });

  test('of a kind with nothing more to send is its end', async () => {
    using pair = await open(putKind);
    pair.opener.bytes.write('x');
    pair.acceptor.sendReply({ bytes: 0 });
    await settle();
    assert.equal(pair.opener.state, 'half-closed (remote)');
    assert.equal(pair.acceptor.state, 'half-closed (local)');
    pair.opener.bytes.end();
    assert.equal((await readAll(pair.acceptor.bytes)).toString(), 'x');
    assert.equal(await fate(pair.acceptor), 'clean');
  });
});

describe('half-close', () => {
  test('of the opener leaves the acceptor its direction', async () => {
    using pair = await open(pipeKind);
    await pair.answered();
    pair.opener.bytes.end('question');
    assert.equal((await once(pair.acceptor.bytes.resume(), 'end')).length, 0);
    assert.equal(pair.opener.state, 'half-closed (local)');
    assert.equal(pair.acceptor.state, 'half-closed (remote)');
    pair.acceptor.bytes.end('answer');
    assert.equal((await readAll(pair.opener.bytes)).toString(), 'answer');
    assert.equal(await fate(pair.opener), 'clean');
    assert.equal(await fate(pair.acceptor), 'clean');
  });

  test('of the acceptor leaves the opener its direction', async () => {
    using pair = await open(pipeKind);
    await pair.answered();
    pair.acceptor.bytes.end('answer');
    pair.opener.bytes.resume();
    await once(pair.opener.bytes, 'end');
    assert.equal(pair.opener.state, 'half-closed (remote)');
    pair.opener.bytes.end('question');
    assert.equal((await readAll(pair.acceptor.bytes)).toString(), 'question');
    assert.equal(await fate(pair.opener), 'clean');
  });

  test('waits for the bytes before it', async () => {
    using pair = await open(pipeKind);
    await pair.answered();
    pair.opener.bytes.end(Buffer.alloc(5 * WINDOW));
    await settle();
    assert.equal(pair.acceptor.flow.received, WINDOW);
    assert.equal(pair.acceptor.state, 'open');
    assert.equal((await readAll(pair.acceptor.bytes)).byteLength, 5 * WINDOW);
    assert.equal(pair.acceptor.state, 'half-closed (remote)');
  });
});

describe('leaving the bytes', () => {
  test('after all were read, with writes that have not left, is no clean end', async () => {
    using pair = await open(pipeKind);
    await pair.answered();
    pair.acceptor.bytes.end('bye');
    pair.opener.bytes.write(Buffer.alloc(3 * WINDOW));
    pair.opener.bytes.write(Buffer.alloc(500));
    for await (const _ of pair.opener.bytes) assert.ok(_);
    const read = readAll(pair.acceptor.bytes);
    await assert.rejects(read, code('CANCELLED'));
  });

  test('after all were read and written is a clean end', async () => {
    using pair = await open(pipeKind);
    await pair.answered();
    pair.acceptor.bytes.end('bye');
    pair.opener.bytes.write('all');
    await settle();
    for await (const _ of pair.opener.bytes) assert.ok(_);
    assert.equal((await readAll(pair.acceptor.bytes)).toString(), 'all');
    assert.equal(await fate(pair.opener), 'clean');
  });

  test('before the end resets the stream', async () => {
    for (const leaver of ['opener', 'acceptor'] as const) {
      using pair = await open(pipeKind);
      await pair.answered();
      pair[leaver].bytes.destroy();
      assert.equal(await fate(pair.opener), 'CANCELLED');
      assert.equal(await fate(pair.acceptor), 'CANCELLED');
    }
  });

  test('by a FairleadError tells the peer its code', async () => {
    using pair = await open(pipeKind);
    await pair.answered();
    pair.acceptor.bytes.destroy(new FairleadError('DOCKER_ERROR', 'no such container'));
    assert.equal(await fate(pair.opener), 'DOCKER_ERROR');
  });

  test('by any other error keeps its text from the peer', async () => {
    using pair = await open(pipeKind);
    await pair.answered();
    pair.acceptor.bytes.destroy(new Error('password=hunter2'));
    const error = await pair.opener.closed;
    assert.equal(error?.code, 'INTERNAL');
    assert.doesNotMatch(String(error), /hunter2/);
  });
});

describe('signals', () => {
  test('reach a listener that comes late, in order, and need no credit', async () => {
    using pair = await open(execKind);
    pair.opener.bytes.write(Buffer.alloc(3 * WINDOW));
    for (const resize of [1, 2, 3]) pair.opener.signal({ resize });
    await settle();
    const heard: number[] = [];
    pair.acceptor.onSignal(({ resize }) => heard.push(resize));
    pair.opener.signal({ resize: 4 });
    await settle();
    assert.deepEqual(heard, [1, 2, 3, 4]);
  });

  test('go on after the opener has ended its bytes', async () => {
    using pair = await open(execKind);
    await pair.answered();
    const heard: number[] = [];
    pair.acceptor.onSignal(({ resize }) => heard.push(resize));
    pair.opener.bytes.end();
    await settle();
    pair.opener.signal({ resize: 9 });
    await settle();
    assert.deepEqual(heard, [9]);
  });

  test('that do not fit, or on kinds without, are refused to the sender', async () => {
    using pair = await open(execKind);
    assert.throws(() => pair.opener.signal({ resize: 'big' } as never), code('MESSAGE_INVALID'));
    assert.throws(() => pair.acceptor.signal({ resize: 1 }), /no signals/);
    using other = await open(pipeKind);
    assert.throws(() => other.opener.signal({} as never), /no signals/);
    assert.equal(await fate(pair.opener), 'open');
  });

  test('whose listener throws reset the stream alone', async () => {
    using pair = await open(execKind);
    pair.acceptor.onSignal(() => {
      throw new Error('secret');
    });
    pair.opener.signal({ resize: 1 });
    assert.equal(await fate(pair.opener), 'INTERNAL');
    assert.equal(pair.server.draining, false);
  });
});
