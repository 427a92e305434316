/** What a link to a host does, whatever its agent speaks: the same Docker gives the same replies, bytes and errors. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { buffer, text } from 'node:stream/consumers';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { HostLink } from '../../server/hosts/host-link.ts';
import { UNARY_CALLS } from '../../shared/docker/unary-calls.ts';
import { isFairleadError } from '../../shared/errors.ts';
import * as containers from '../../shared/messages/container.ts';
import { containerArchiveGet, containerExecRun } from '../../shared/messages/container-streams.ts';
import { dockerRequest } from '../../shared/messages/docker.ts';
import { hostInfo } from '../../shared/messages/host.ts';
import { hostEvents } from '../../shared/messages/host-events.ts';
import { imagePull, imageSave } from '../../shared/messages/image-streams.ts';
import type { Params, StreamKind } from '../../shared/messages/kind.ts';
import { volumeBrowse } from '../../shared/messages/volume-content.ts';
import { HOST_ID, type OpenLink } from '../support/host-links.ts';
import { sampleOf } from '../support/sample-params.ts';
import { ENGINE_ID, EXIT_CODE, LOG, ScriptedEngine, tarHash, WEB } from '../support/scripted-engine.ts';
import { fileCleanup } from '../support/tmp.ts';
import { waitFor, within } from '../support/wait.ts';

/** In the words of a real one, by which refusals without a status are known. */
const REFUSALS = [
  { status: 404, message: 'No such container: web', code: 'CONTAINER_NOT_FOUND' },
  { status: 404, message: 'network web not found', code: 'NOT_FOUND' },
  { status: 409, message: 'Conflict. The name "/web" is already in use by container "ü"', code: 'CONFLICT' },
  { status: 400, message: 'invalid reference format', code: 'VALIDATION' },
  { status: 500, message: 'something broke', code: 'DOCKER_ERROR' },
] as const;

/** What a kind came to, in a form that can be compared. */
type Outcome = { reply: unknown; items: unknown[] } | { code: string; message: string };
/** What the first link of a process said to each question: the others are to say the same. */
const said = new Map<string, { by: string; outcome: Outcome }>();

async function outcomeOf<K extends StreamKind>(link: HostLink, kind: K, params: Params<K>): Promise<Outcome> {
  try {
    const stream = await link.open(kind, params, { timeoutMs: 5_000 });
    const items = await Array.fromAsync(stream.items());
    stream.bytes.destroy();
    return { reply: stream.reply, items };
  } catch (error) {
    if (!isFairleadError(error)) throw error;
    return { code: error.code, message: error.message };
  }
}

export function linkConformance(name: string, open: OpenLink): void {
  describe(`a link to ${name}`, () => {
    const cleanup = fileCleanup();
    let engine: ScriptedEngine;
    let link: HostLink;

    before(async () => {
      engine = await ScriptedEngine.start(cleanup);
      ({ link } = await open(cleanup, engine.socket));
    });
    beforeEach(() => engine.reset());
    after(() => link.close('SHUTDOWN', 'the suite is over'));

    const same = (question: string, outcome: Outcome) => {
      const first = said.get(question) ?? { by: name, outcome };
      said.set(question, first);
      assert.deepEqual(outcome, first.outcome, `${question}: not as ${first.by}`);
    };
    /** Nothing is left at Docker of what a caller has left. */
    const quiet = () => waitFor('an end at Docker', () => engine.open === engine.listeners, { timeoutMs: 1_500 });

    test('says what its host is, and what it serves', async () => {
      const { docker, capabilities, policy, connectedAt, lastSeenAt, agentVersion, hostname } = link.describe();
      assert.equal(link.hostId, HOST_ID);
      assert.deepEqual([docker.reachable, docker.version], [true, '99.0']);
      for (const kind of [containers.containerList, containers.containerLogStream, dockerRequest, imagePull]) {
        assert.ok(capabilities.includes(kind.name), kind.name);
      }
      assert.equal(capabilities.includes(volumeBrowse.name), false);
      assert.deepEqual(policy, { allow: [], deny: [] });
      assert.ok(connectedAt <= lastSeenAt + 1_000 && Math.abs(connectedAt - Date.now()) < 60_000);
      assert.ok(agentVersion !== '' && hostname !== '' && link.instanceId !== '');
      assert.ok((await link.ping({ timeoutMs: 5_000 })) >= 0);
      const info = await link.call(hostInfo, {});
      assert.equal(info.dockerInfo?.['ID'], ENGINE_ID);
    });

    test('calls that have one answer give what Docker gives', async () => {
      for (const { kind } of UNARY_CALLS) {
        const params = sampleOf(kind.params) as Params<typeof kind>;
        const outcome = await outcomeOf(link, kind, params);
        assert.ok('reply' in outcome, `${kind.name}: ${JSON.stringify(outcome)}`);
        same(`${kind.name} ${JSON.stringify(params)}`, outcome);
      }
      const { items } = (await outcomeOf(link, containers.containerList, {})) as { items: { Id: string }[] };
      assert.deepEqual(
        items.map(({ Id }) => Id),
        [WEB, 'b'.repeat(64)],
      );
    });

    for (const { code, ...refusal } of REFUSALS) {
      test(`what Docker refuses with ${refusal.status} is ${code}, in its own words`, async () => {
        engine.refusal = refusal;
        for (const { kind } of UNARY_CALLS) {
          const outcome = await outcomeOf(link, kind, sampleOf(kind.params) as Params<typeof kind>);
          assert.deepEqual(outcome, { code, message: refusal.message }, kind.name);
        }
        const id = 'web';
        const run = { id, cmd: ['sh'], timeoutMs: 1_000, maxOutputBytes: 1 };
        const failing: (() => Promise<unknown>)[] = [
          () => link.open(containers.containerLogStream, { id }),
          () => link.open(containers.containerStats, { id }),
          () => link.open(containers.containerExecOpen, { id, cmd: ['sh'], tty: true }),
          () => link.open(containers.containerExecOpen, { id, cmd: ['sh'] }),
          () => link.open(containerExecRun, run),
          () => link.open(containerArchiveGet, { id, path: '/' }),
          () => link.open(imageSave, { references: ['web:1'] }),
          () => link.open(imagePull, { reference: 'web:1' }),
        ];
        for (const attempt of failing) {
          await assert.rejects(attempt(), { code, message: refusal.message }, String(attempt));
        }
        await quiet();
      });
    }

    test('a change that is repeated by its key acts once', async () => {
      const params = { id: 'web', idempotencyKey: '00000000-0000-4000-8000-000000000001' };
      await Promise.all([1, 2].map(() => link.call(containers.containerStart, params)));
      await link.call(containers.containerStart, params);
      assert.equal(engine.calls.filter(({ path }) => path.endsWith('/start')).length, 1);
      await link.call(containers.containerStart, { id: 'web' });
      assert.equal(engine.calls.filter(({ path }) => path.endsWith('/start')).length, 2);
    });

    test('logs are the bytes of Docker, in frames without a terminal and bare with one', async () => {
      for (const id of ['web', 'tty']) {
        const stream = await link.open(containers.containerLogStream, { id, tail: 5, timestamps: true });
        assert.equal(stream.reply.tty, id === 'tty');
        assert.deepEqual(await buffer(stream.bytes), Buffer.concat(LOG));
        assert.equal(await stream.closed, undefined);
      }
      const { query } = engine.calls.findLast(({ path }) => path.endsWith('/logs')) ?? {};
      assert.deepEqual([query?.get('tail'), query?.get('timestamps'), query?.get('follow')], ['5', '1', '0']);
    });

    test('statistics are items, one or as many as are wanted', async () => {
      const once = await link.open(containers.containerStats, { id: 'web', stream: false });
      assert.deepEqual(await Array.fromAsync(once.items()), [{ name: '/web', n: 1 }]);
      const stream = await link.open(containers.containerStats, { id: 'web' });
      const seen: unknown[] = [];
      for await (const item of stream.items()) if (seen.push(item['n']) === 2) break;
      assert.deepEqual(seen, [1, 2]);
      await quiet();
    });

    test('tars come whole or not at all', async () => {
      const get = (path: string) => link.open(containerArchiveGet, { id: 'web', path });
      const stream = await get('/file');
      assert.match(Buffer.from(stream.reply.stat, 'base64').toString(), /"name":"file"/);
      const hash = createHash('sha256');
      for await (const chunk of stream.bytes) hash.update(chunk);
      assert.equal(hash.digest('hex'), tarHash(4));
      await assert.rejects(get('/none'), { code: 'NOT_FOUND', message: /Could not find the file/ });
      engine.breakAfter = 2;
      for (const opening of [() => get('/file'), () => link.open(imageSave, { references: ['web:1'] })]) {
        const broken = await opening();
        await assert.rejects(buffer(broken.bytes), (error) => isFairleadError(error));
        assert.notEqual(await broken.closed, undefined);
      }
    });

    test('a pull tells how far it is, and how it failed', async () => {
      const pull = async (reference: string) => {
        const stream = await link.open(imagePull, { reference });
        const items: unknown[] = [];
        for await (const item of stream.items()) items.push(item);
        return items;
      };
      assert.deepEqual(await pull('web:1'), [
        { status: 'Pulling from web', id: '1' },
        { status: 'Download complete', id: 'ü' },
      ]);
      await assert.rejects(pull('broken:1'), { code: 'DOCKER_ERROR', message: /no space left/ });
    });

    test('a command runs to its end, and says how it ended', async () => {
      const run = { id: 'web', cmd: ['sh', '-c', 'true'], timeoutMs: 5_000, maxOutputBytes: 1024 };
      const stream = await link.open(containerExecRun, run);
      const { exitCode, stdout, stderr, truncated } = await within(5_000, 'the end', stream.trailer);
      assert.deepEqual([exitCode, truncated], [EXIT_CODE, false]);
      assert.equal(Buffer.from(stdout, 'base64').toString(), 'out 1\nout 2\n');
      assert.equal(Buffer.from(stderr, 'base64').toString(), 'err – ü\n');
      const opened = await link.open(containers.containerExecOpen, { id: 'web', cmd: ['sh'], stdin: false });
      assert.equal(opened.reply.tty, false);
      assert.deepEqual(await buffer(opened.bytes), Buffer.concat(LOG));
      assert.deepEqual(await opened.trailer, { code: EXIT_CODE });
    });

    test('a terminal takes what is typed in order, and ends with its process', async () => {
      const size = { cols: 100, rows: 30 };
      const stream = await link.open(containers.containerExecOpen, { id: 'web', cmd: ['sh'], tty: true, size });
      assert.equal(stream.reply.tty, true);
      const output = text(stream.bytes);
      stream.signal({ resize: { cols: 132, rows: 43 } });
      const line = Array.from({ length: 200 }, (_, n) => `${n}`).join(' ');
      for (const key of line) stream.bytes.write(key);
      stream.bytes.write('\nexit\n');
      assert.equal(await within(10_000, 'the end', output), `# ${line}\nexit\n`);
      assert.deepEqual(await stream.trailer, { code: EXIT_CODE });
      assert.ok(engine.calls.some(({ path, query }) => path.endsWith('/resize') && query.get('w') === '132'));
    });

    test('events come to whoever waits for them', async () => {
      const first = link.call(hostEvents, {}, { timeoutMs: 10_000 });
      await waitFor('the question for events', () => engine.listeners > 0);
      engine.tell('start');
      const { feed, last, events } = await within(5_000, 'the event', first);
      assert.deepEqual(
        events.map(({ type, action, id }) => [type, action, id]),
        [['container', 'start', WEB]],
      );
      const second = link.call(hostEvents, { feed, after: last }, { timeoutMs: 10_000 });
      engine.tell('die');
      assert.equal((await within(5_000, 'the next event', second)).events[0]?.action, 'die');
    });

    test("exchanges with Docker's API pass as they are, refusals included", async () => {
      const ask = async (method: string, target: string, body?: string) => {
        const headers: [string, string][] = body === undefined ? [] : [['Content-Type', 'application/json']];
        const stream = await link.open(
          dockerRequest,
          { method, target, headers, body: body === undefined ? 'none' : Buffer.byteLength(body) },
          body === undefined ? {} : { feed: (bytes) => void bytes.end(body) },
        );
        if (body === undefined) stream.bytes.end();
        const { status } = stream.reply;
        return { status, text: await text(stream.bytes), trailer: await stream.trailer };
      };
      const listed = await ask('GET', '/v1.41/containers/json?all=1');
      assert.deepEqual([listed.status, JSON.parse(listed.text)[0].Id], [200, WEB]);
      const made = await ask('POST', '/containers/create?name=web', '{"Image":"web","Labels":{"note":"ü"}}');
      assert.deepEqual([made.status, JSON.parse(made.text).Id], [201, WEB]);
      assert.match(engine.calls.at(-1)?.body ?? '', /ü/);
      const log = await ask('GET', '/containers/web/logs?stdout=1&stderr=1');
      assert.ok(log.text.includes('err – ü'));
      for (const refusal of REFUSALS) {
        engine.refusal = refusal;
        for (const target of ['/containers/web/json', '/containers/web/archive?path=/', '/images/web/get']) {
          const refused = await ask('GET', target);
          assert.deepEqual(
            [refused.status, JSON.parse(refused.text)],
            [refusal.status, { message: refusal.message }],
            target,
          );
        }
      }
      await quiet();
    });

    test('a kind that the host does not serve is UNSUPPORTED, by its name', async () => {
      const asked = link.call(volumeBrowse, { volume: 'data' });
      await assert.rejects(asked, { code: 'UNSUPPORTED', message: /volume\.browse/ });
    });
  });
}
