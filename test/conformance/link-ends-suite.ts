/** How what goes over a link to a host ends, whatever its agent speaks: left, late, unread, cut off or closed. */
import assert from 'node:assert/strict';
import { buffer } from 'node:stream/consumers';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { HostLink, LinkStream } from '../../server/hosts/host-link.ts';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import * as containers from '../../shared/messages/container.ts';
import { containerArchiveGet } from '../../shared/messages/container-streams.ts';
import type { OpenLink } from '../support/host-links.ts';
import { ScriptedEngine } from '../support/scripted-engine.ts';
import { type Cleanup, fileCleanup } from '../support/tmp.ts';
import { waitFor, within } from '../support/wait.ts';

const MIB = 1024 * 1024;
const ended = (code: FairleadError['code']) => (error: unknown) => isFairleadError(error, code);

export function linkEndsConformance(name: string, open: OpenLink): void {
  describe(`ends of a link to ${name}`, () => {
    const cleanup = fileCleanup();
    let engine: ScriptedEngine;
    let link: HostLink;

    before(async () => {
      engine = await ScriptedEngine.start(cleanup);
      ({ link } = await open(cleanup, engine.socket));
    });
    beforeEach(() => engine.reset());
    after(() => link.close('SHUTDOWN', 'the suite is over'));

    /** Another one, for what a link does not survive. */
    const another = (cleanup: Cleanup) => open(cleanup, engine.socket);
    /** Nothing is left at Docker of what a caller has left. */
    const quiet = () => waitFor('an end at Docker', () => engine.open === engine.listeners, { timeoutMs: 1_500 });

    test('whoever leaves a stream ends it at Docker, however he leaves', async () => {
      const left = new FairleadError('CANCELLED', 'left');
      const follow = async (signal?: AbortSignal) => {
        const params = { id: 'web', follow: true };
        const stream = await link.open(containers.containerLogStream, params, signal === undefined ? {} : { signal });
        await new Promise((resolve) => stream.bytes.once('readable', resolve));
        stream.bytes.on('error', () => undefined);
        return stream;
      };
      const ends = async (stream: LinkStream, code: FairleadError['code'] | undefined) => {
        await quiet();
        assert.equal((await within(1_000, 'the end of the stream', stream.closed))?.code, code);
      };
      const destroyed = await follow();
      destroyed.bytes.destroy();
      await quiet();
      const reset = await follow();
      reset.reset(left);
      await ends(reset as unknown as LinkStream, 'CANCELLED');
      const controller = new AbortController();
      const aborted = await follow(controller.signal);
      controller.abort(left);
      await ends(aborted as unknown as LinkStream, 'CANCELLED');
      const looped = await follow();
      for await (const _chunk of looped.bytes) break;
      await quiet();

      const sampled = await link.open(containers.containerStats, { id: 'web' });
      for await (const _sample of sampled.items()) break;
      await quiet();
    });

    test('what does not come in time, or is not waited for, fails at once and leaves the link as it was', async () => {
      engine.isSilent = true;
      const open = (options: object) => link.open(containers.containerLogStream, { id: 'web' }, options);
      await assert.rejects(link.call(containers.containerList, {}, { timeoutMs: 50 }), ended('TIMEOUT'));
      await assert.rejects(open({ timeoutMs: 50 }), ended('TIMEOUT'));
      const why = new FairleadError('CANCELLED', 'the client left');
      const controller = new AbortController();
      const { signal } = controller;
      const waiting = [link.call(containers.containerList, {}, { signal }), open({ signal })];
      const aborted = Promise.allSettled(waiting);
      controller.abort(why);
      for (const result of await within(1_000, 'the ends', aborted)) {
        assert.deepEqual(result, { status: 'rejected', reason: why });
      }
      await assert.rejects(link.call(containers.containerList, {}, { signal }), (error) => error === why);
      engine.isSilent = false;
      assert.equal((await link.call(containers.containerList, {})).count, 2);
    });

    test('a reader that does not read costs a bounded amount, and holds nobody else up for long', async () => {
      engine.chunks = 1_024;
      const stream = await link.open(containerArchiveGet, { id: 'web', path: '/' });
      stream.bytes.on('error', () => undefined);
      // Begun, but never read: held up at Docker, or ended.
      stream.bytes.once('readable', () => undefined);
      let before = -1;
      await waitFor(
        'the bound',
        () => {
          const isStill = engine.sent === before || stream.bytes.destroyed;
          before = engine.sent;
          return engine.sent > 0 && isStill;
        },
        { everyMs: 100, timeoutMs: 10_000 },
      );
      assert.ok(engine.sent < 40 * MIB, `${engine.sent} bytes`);
      const started = performance.now();
      assert.equal((await link.call(containers.containerList, {})).count, 2);
      assert.ok(performance.now() - started < 5_000);
      stream.reset(new FairleadError('CANCELLED', 'left'));
      await quiet();
    });

    test('a host that goes away ends all that is under way, and nothing of it looks whole', async (t) => {
      const { link: gone, cut } = await another(t);
      const stream = await gone.open(containers.containerLogStream, { id: 'web', follow: true });
      const stats = await gone.open(containers.containerStats, { id: 'web' });
      const terminal = await gone.open(containers.containerExecOpen, { id: 'web', cmd: ['sh'], tty: true });
      engine.isSilent = true;
      const log = buffer(stream.bytes);
      const items = Array.fromAsync(stats.items());
      const typed = buffer(terminal.bytes);
      const asked = gone.call(containers.containerList, {});
      const results = Promise.allSettled([log, items, typed, terminal.trailer, asked, gone.ping()]);
      cut();
      for (const [n, result] of (await within(2_000, 'the ends', results)).entries()) {
        assert.equal(result.status, 'rejected', `${n}`);
        // Of a host that is dialled, a question may not have gone out yet.
        const isUnsent = n === 4 && isFairleadError(result.reason, 'HOST_OFFLINE');
        assert.ok(isUnsent || isFairleadError(result.reason, 'STREAM_INTERRUPTED'), `${n}: ${JSON.stringify(result)}`);
      }
      assert.ok(isFairleadError(await stream.closed, 'STREAM_INTERRUPTED'));
      assert.ok(isFairleadError(await within(1_000, 'the end of the link', gone.closed)));
      await assert.rejects(gone.call(containers.containerList, {}), ended('HOST_OFFLINE'));
      await assert.rejects(gone.open(containers.containerLogStream, { id: 'web' }), ended('HOST_OFFLINE'));
      assert.equal(gone.describe().docker.version, '99.0');
    });

    test('a link that is closed says why, once', async (t) => {
      const { link: closing } = await another(t);
      const stream = await closing.open(containers.containerLogStream, { id: 'web', follow: true });
      const log = buffer(stream.bytes);
      log.catch(() => undefined);
      closing.close('REPLACED', 'a newer one took over');
      closing.close('SHUTDOWN', 'too late');
      const cause = await within(1_000, 'the end', closing.closed);
      assert.deepEqual([cause.code, cause.message], ['REPLACED', 'a newer one took over']);
      await assert.rejects(log, ended('STREAM_INTERRUPTED'));
      await quiet();
    });
  });
}
