/** An image that is carried from host to host through the server: nothing of it is held here but what is on its way. */
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import { imageLoad, imageSave } from '../../shared/messages/image-streams.ts';
import { pump } from '../../shared/pump.ts';
import type { HostLink } from '../hosts/host-link.ts';

/** Time for one image, from the first byte to the target's word that it has it. */
const COPY_MS = 2 * 60 * 60_000;

/** @throws FairleadError what one of the hosts fails with, or the signal's reason */
export async function copyImage(
  image: string,
  { from, to }: { readonly from: HostLink; readonly to: HostLink },
  signal: AbortSignal,
): Promise<void> {
  const source = await from.open(imageSave, { references: [image] }, { signal });
  let failure: unknown;
  try {
    await to.open(
      imageLoad,
      {},
      {
        ...{ signal, timeoutMs: COPY_MS },
        feed: (sink) => {
          pump(source.bytes, sink, signal).then(
            () => sink.end(),
            (error: unknown) => {
              failure = error;
              sink.destroy(
                isFairleadError(error) ? error : new FairleadError('STREAM_INTERRUPTED', 'the image broke off'),
              );
            },
          );
        },
      },
    );
  } catch (error) {
    // What one end fails with is why the other one stops.
    throw failure ?? error;
  } finally {
    source.reset(new FairleadError('CANCELLED', 'the image is carried no more'));
  }
}
