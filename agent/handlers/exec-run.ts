/** Handler of container.exec.run: a command to its end, with all that it said, within limits. */
import { Writable } from 'node:stream';
import { Demuxer } from '../../shared/docker/demux.ts';
import { FairleadError } from '../../shared/errors.ts';
import { Gathered } from '../../shared/gathered.ts';
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
  readonly #demuxer = new Demuxer((stream, piece) => this.#keep(stream === 2 ? this.#stderr : this.#stdout, piece));
  readonly #stdout: Gathered;
  readonly #stderr: Gathered;
  #truncated = false;

  constructor(maxBytes: number) {
    super();
    this.#stdout = new Gathered(maxBytes);
    this.#stderr = new Gathered(maxBytes);
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
    const text = (output: Gathered) => output.bytes().toString('base64');
    return { stdout: text(this.#stdout), stderr: text(this.#stderr), truncated: this.#truncated };
  }

  #keep(output: Gathered, piece: Buffer): void {
    if (!output.add(piece)) this.#truncated = true;
  }
}
