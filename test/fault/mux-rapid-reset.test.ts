/** Work that outlives its stream, which has brought down servers of HTTP/2: here it ends one session, if any. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { pino } from 'pino';
import type { HandlerContext } from '../../agent/handlers/index.ts';
import { Dispatcher } from '../../agent/link/dispatch.ts';
import { INITIAL_WINDOW_BYTES, MAX_OPEN_STREAMS } from '../../shared/limits.ts';
import { MECHANICS } from '../../shared/messages/mechanics.ts';
import { encodeFrame, FLAGS } from '../../shared/mux/frame.ts';
import type { MuxStream } from '../../shared/mux/stream.ts';
import { callKind, execKind, pipeKind, settle } from '../support/mux.ts';
import { ended, networkWithNeighbour, OPENS_AT_ONCE, repeat, scene } from '../support/mux-advisories.ts';
import type { RawSession } from '../support/raw-session.ts';

const { OPEN, END } = FLAGS;

const WINDOW = MECHANICS['stream.window'];
const SIGNAL = MECHANICS['stream.signal'];
const text = { text: '' };

const { nextDoor } = await networkWithNeighbour();

describe('CVE-2023-44487, HTTP/2 rapid reset, and CVE-2025-8671, MadeYouReset: work that outlives its stream', () => {
  /** A handler that takes no notice of resets, behind what agents accept streams with. */
  function slowService() {
    const release = Promise.withResolvers<void>();
    let most = 0;
    let begun = 0;
    const dispatcher: Dispatcher = new Dispatcher({
      policy: { allow: [], deny: [] },
      handlers: new Map(
        [callKind, execKind].map((kind) => [
          kind.code,
          async () => {
            begun += 1;
            most = Math.max(most, dispatcher.running);
            await release.promise;
          },
        ]),
      ),
      context: {} as unknown as HandlerContext,
      log: pino({ level: 'silent' }),
    });
    return {
      accept: (stream: MuxStream) => dispatcher.accept(stream),
      figures: () => ({ begun, most, running: dispatcher.running }),
      release: release.resolve,
    };
  }

  const ways: [name: string, attack: (raw: RawSession, id: number) => void][] = [
    [
      'the peer resets at once',
      ({ peer }, id) => {
        peer.open(callKind, id, text);
        peer.reset(id);
      },
    ],
    [
      'a signal that does not fit makes this end reset',
      ({ peer }, id) => {
        peer.open(execKind, id, {}, OPEN);
        peer.frame(SIGNAL, id, 0, { resize: 'large' });
      },
    ],
    ['parameters that do not fit make this end reset', ({ peer }, id) => peer.open(callKind, id, { text: 7 })],
  ];
  for (const [name, act] of ways) {
    test(name, async () => {
      const service = slowService();
      const raw = await scene({ onStream: service.accept });
      await nextDoor.meanwhile(() => repeat(raw, 2 * OPENS_AT_ONCE, (index) => act(raw, 2 * index + 1)));
      await ended(raw, 'PROTOCOL_ERROR', /opened in vain/);
      const { begun, most } = service.figures();
      assert.ok(most <= MAX_OPEN_STREAMS, `${most} handlers at work`);
      assert.ok(begun <= MAX_OPEN_STREAMS, `${begun} begun`);
      service.release();
      await settle();
      assert.equal(service.figures().running, 0);
    });
  }

  for (const [what, perStream, code] of [
    ['signals that nobody listens to make this end reset', 65, 'OVERLOADED'],
    ['too many signals make this end reset', 501, 'RATE_LIMITED'],
  ] as const) {
    test(what, async () => {
      const service = slowService();
      const raw = await scene({
        onStream(stream) {
          if (code === 'RATE_LIMITED') stream.onSignal(() => undefined);
          service.accept(stream);
        },
      });
      const { peer } = raw;
      await nextDoor.meanwhile(async () => {
        for (let id = 1; id < 1000 && !raw.session.draining; id += 2) {
          peer.open(execKind, id, {}, OPEN);
          for (let signal = 0; signal < perStream; signal += 1) peer.frame(SIGNAL, id, 0, { resize: signal });
          await settle(3);
        }
      });
      // Each such reset costs the peer so many frames without credit that these end it first.
      await ended(raw, 'PROTOCOL_ERROR', /control frames/);
      const resets = raw.session.stats.resetsByCode.get(code) ?? 0;
      assert.ok(resets > 30 && resets <= 20_000 / perStream + 1, `${resets} resets`);
      assert.ok(service.figures().most <= MAX_OPEN_STREAMS);
      service.release();
    });
  }

  test('what made HTTP/2 reset a stream ends the session here, at the first time', async () => {
    const session: [code: string, attack: (raw: RawSession) => void][] = [
      ['FLOW_CONTROL_ERROR', ({ peer }) => peer.frame(WINDOW, 1, 0, { limit: 0 })],
      ['MESSAGE_INVALID', ({ peer }) => peer.frame(WINDOW, 1, 0, { limit: -1 })],
      ['MESSAGE_INVALID', ({ peer }) => peer.raw(encodeFrame(WINDOW, 1, 0, Buffer.alloc(3)))],
      ['PROTOCOL_ERROR', ({ peer }) => peer.frame(MECHANICS.reply, 1, 0, {})],
      ['PROTOCOL_ERROR', ({ peer }) => peer.open(callKind, 1, text)],
      [
        'PROTOCOL_ERROR',
        ({ peer }) => {
          peer.data(1, 1, END);
          peer.data(1, 1, END);
        },
      ],
      ['FLOW_CONTROL_ERROR', ({ peer }) => peer.data(1, INITIAL_WINDOW_BYTES + 1)],
    ];
    for (const [code, act] of session) {
      const raw = await scene();
      raw.peer.open(pipeKind, 1, {}, OPEN);
      act(raw);
      await ended(raw, code);
      assert.equal(raw.peer.resets.size, 0);
    }
  });

  test('honest work above the streams that may be open is none of this: answers make room', async () => {
    const service = slowService();
    const raw = await scene({ onStream: service.accept });
    await repeat(raw, 1000, (index) => {
      raw.peer.open(callKind, 2 * index + 1, text);
      raw.peer.reset(2 * index + 1);
    });
    assert.equal(service.figures().running, MAX_OPEN_STREAMS);
    service.release();
    await settle();
    raw.peer.open(callKind, 4001, text);
    await settle();
    assert.equal(service.figures().begun, MAX_OPEN_STREAMS + 1);
    assert.equal(raw.session.draining, false);
  });
});
