/** Handler of container.exec.run: a command to its end, with all that it said, within limits. */
import { Writable } from 'node:stream';
import { Demuxer } from '../../shared/docker/demux.ts';
import { FairleadError } from '../../shared/errors.ts';
import type { containerExecRun } from '../../shared/messages/container-streams.ts';
import { Exec } from '../docker/exec.ts';
import { endOrWarn } from './exec.ts';
import type { Handler } from './handler.ts';
import { drain, feed } from './process-bytes.ts';

export const handleExecRun: Handler<typeof containerExecRun> = async (stream, context) => {
  const { clock } = context.docker;
  const { aborted, bytes } = stream;
  const { id, stdin = false, timeoutMs, maxOutputBytes, ...options } = stream.params;
  const exec = await Exec.start(context.docker, { container: id, tty: false, stdin, ...options }, aborted);
  const overtime = new AbortController();
  const late = new FairleadError('TIMEOUT', `the command did not end within ${timeoutMs / 1000} s, and was ended`);
  const timer = clock.setTimeout(() => overtime.abort(late), timeoutMs);
  const signal = AbortSignal.any([aborted, overtime.signal]);
  try {
    signal.throwIfAborted();
    stream.sendReply({ execId: exec.id });
    if (stdin) void feed(bytes, exec.connection, signal);
    else bytes.resume();
    const output = new Output(maxOutputBytes);
    const broken = await drain(exec.connection, output, signal);
    const exitCode = await exec.exitCode(signal, broken);
    exec.connection.destroy();
    stream.finish({ exitCode, ...output.kept() });
  } catch (error) {
    await endOrWarn(exec, id, context);
    throw error;
  } finally {
    timer.cancel();
  }
};

/** Takes in both outputs, and keeps so many bytes of each. */
class Output extends Writable {
  readonly #maxBytes: number;
  readonly #demuxer = new Demuxer((stream, piece) => this.#keep(stream === 2 ? this.#stderr : this.#stdout, piece));
  readonly #stdout = { chunks: [] as Buffer[], bytes: 0 };
  readonly #stderr = { chunks: [] as Buffer[], bytes: 0 };
  #truncated = false;

  constructor(maxBytes: number) {
    super();
    this.#maxBytes = maxBytes;
    // Whoever writes it is told; without a listener a failure would end the agent.
    this.on('error', () => undefined);
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    try {
      this.#demuxer.push(chunk);
      done();
    } catch (error) {
      done(error instanceof Error ? error : new Error(String(error)));
    }
  }

  /** What was kept, in base64, and whether there was more. */
  kept(): { stdout: string; stderr: string; truncated: boolean } {
    const text = ({ chunks }: { chunks: Buffer[] }) => Buffer.concat(chunks).toString('base64');
    return { stdout: text(this.#stdout), stderr: text(this.#stderr), truncated: this.#truncated };
  }

  #keep(kept: { chunks: Buffer[]; bytes: number }, piece: Buffer): void {
    const room = this.#maxBytes - kept.bytes;
    if (piece.byteLength > room) this.#truncated = true;
    if (room <= 0) return;
    // A copy: the piece is a view of a larger chunk, which would be kept with it.
    const part = Buffer.from(piece.subarray(0, room));
    kept.chunks.push(part);
    kept.bytes += part.byteLength;
  }
}
