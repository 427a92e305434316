/** What is looked at of streamed answers before their reader gets them, since they have no status and no honest end. */
import { answerFailure } from '../../shared/docker/answer-failure.ts';
import { TarEnd } from '../../shared/docker/tar-end.ts';
import { FairleadError } from '../../shared/errors.ts';
import type { HeldBytes } from './held-bytes.ts';
import { MAX_REFUSAL_CHARS, mayBeRefusal, refusalIn } from './refusal.ts';

/** Fails the bytes with Docker's own words if they are a refusal. They must not be bytes that a container has chosen. */
export function refuseBy(bytes: HeldBytes): void {
  const receive = bytes.receive.bind(bytes);
  const finish = bytes.finish.bind(bytes);
  let held = '';
  let isDecided = false;
  bytes.receive = (chunk) => {
    if (isDecided) return receive(chunk);
    held += chunk.toString('latin1');
    if (mayBeRefusal(held) && held.length <= MAX_REFUSAL_CHARS) return;
    isDecided = true;
    receive(Buffer.from(held, 'latin1'));
  };
  bytes.finish = () => {
    const text = Buffer.from(held, 'latin1').toString('utf8');
    const refusal = isDecided ? undefined : refusalIn(text);
    if (refusal !== undefined) return void bytes.destroy(answerFailure(refusal.status, text));
    if (!isDecided) receive(Buffer.from(held, 'latin1'));
    finish();
  };
}

/** Fails a tar that ends before its end: an agent says of all that it ends that it is complete. */
export function requireWholeTar(bytes: HeldBytes): void {
  const receive = bytes.receive.bind(bytes);
  const finish = bytes.finish.bind(bytes);
  const end = new TarEnd();
  bytes.receive = (chunk) => {
    end.add(chunk);
    receive(chunk);
  };
  bytes.finish = () => {
    if (end.isReached) finish();
    else
      bytes.destroy(
        new FairleadError('STREAM_INTERRUPTED', 'the tar broke off: Docker, or the agent, ended it too soon'),
      );
  };
}
