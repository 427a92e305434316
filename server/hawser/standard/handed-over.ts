/**
 * Connections of execs that the agent hands over. It closes both directions as soon as one ends, and what is still to come with
 * them: the end of the input is therefore kept back until the output has ended.
 */
import type { Timer } from '../../../shared/clock.ts';
import { answerFailure } from '../../../shared/docker/answer-failure.ts';
import type { BareConnection, RawAnswer } from '../../../shared/docker/raw-exchange.ts';
import { FairleadError } from '../../../shared/errors.ts';
import { Gathered } from '../../../shared/gathered.ts';
import type { HeldBytes } from '../held-bytes.ts';
import { bodyOf } from './agent-answer.ts';
import { JsonEnd } from './json-end.ts';
import { AFTER_INPUT_MS, FAREWELL_MS, MAX_REFUSAL_BYTES, REFUSAL_MS } from './limits.ts';
import type { Begun, StandardTransport } from './standard-transport.ts';

/** What a terminal takes for "interrupt" and "end of input". */
const CTRL_C_CTRL_D = Buffer.from([0x03, 0x04]);
const CTRL_D = CTRL_C_CTRL_D.subarray(1);
/** Longer than the keys by which anybody detaches. */
const TYPED_BYTES = 64;

export interface HandOverOptions {
  readonly hasTerminal: boolean;
  /** What a terminal is told when its input ends, or its user leaves; a client of Docker's own API does that itself. */
  readonly typesKeys: boolean;
  /** As that of a bare connection. @param typed what the client has written last, up to 64 bytes */
  readonly confirm: (isBroken: boolean, typed: Buffer) => Promise<void>;
}

/** Joins a stream of the mesh and an exec's connection. */
export function handedOver(
  transport: StandardTransport,
  begun: Begun,
  connection: BareConnection,
  { hasTerminal, typesKeys, confirm }: HandOverOptions,
): HeldBytes {
  const { sink } = connection;
  const { clock } = transport;
  let timer: Timer | undefined;
  let typed: Buffer = Buffer.alloc(0);
  const endInput = () => {
    if (hasTerminal && typesKeys) sink.write(CTRL_D);
    if (!hasTerminal) timer = clock.setTimeout(() => bytes.destroy(endlessInput()), AFTER_INPUT_MS);
  };
  const leave = () => {
    if (!hasTerminal || !typesKeys || sink.destroyed) return begun.destroy();
    sink.write(CTRL_C_CTRL_D);
    clock.setTimeout(() => begun.destroy(), FAREWELL_MS);
  };
  const bytes = transport.bare(
    connection,
    {
      write: (chunk, done) => {
        typed = Buffer.concat([typed, chunk.subarray(-TYPED_BYTES)]).subarray(-TYPED_BYTES);
        sink.write(chunk, (error) => done(error ?? undefined));
      },
      end: (done) => {
        endInput();
        done();
      },
    },
    { onLeave: leave, confirm: (isBroken) => confirm(isBroken, typed) },
  );
  bytes.once('close', () => timer?.cancel());
  bytes.once('end', () => begun.destroy());
  return bytes;
}

function endlessInput(): FairleadError {
  return new FairleadError(
    'UNSUPPORTED',
    `the command did not end within ${AFTER_INPUT_MS / 1000} s after its input, whose end an agent of Hawser that listens cannot ` +
      'pass on; it goes on in its container: give it no input, or a terminal, or use fairlead-agent',
  );
}

/** Reads Docker's refusal to hand over a connection: it has no length, and the connection stays open behind it. */
export async function refusalText(transport: StandardTransport, begun: Begun, answer: RawAnswer): Promise<string> {
  const body = bodyOf(answer);
  const gathered = new Gathered(MAX_REFUSAL_BYTES);
  const json = new JsonEnd();
  const timer = transport.clock.setTimeout(() => begun.destroy(), REFUSAL_MS);
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      json.add(chunk);
      if (!gathered.add(chunk) || (json.isBetween && json.values > 0)) break;
    }
  } catch {
    // What has come of it until it broke off, or was no longer waited for, is all that there is to say.
  } finally {
    timer.cancel();
    begun.destroy();
  }
  return gathered.bytes().toString('utf8');
}

/** The connection that an answer hands over. @throws FairleadError what Docker refuses, DOCKER_ERROR */
export async function connectionOf(
  transport: StandardTransport,
  begun: Begun,
  answer: RawAnswer,
): Promise<BareConnection> {
  if (answer.connection !== undefined) return answer.connection;
  const text = await refusalText(transport, begun, answer);
  if (answer.status >= 400) throw answerFailure(answer.status, text);
  throw new FairleadError('DOCKER_ERROR', 'the agent of Hawser answered, but did not hand over the connection');
}
