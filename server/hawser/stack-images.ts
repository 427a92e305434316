/**
 * Pulls the images of a stack by Docker itself, which has no end of time for it: an agent of Hawser may give Compose 30 s, and
 * a pull that is broken off so deploys nothing.
 */

import { imagesOf, type StackImage } from '../../shared/compose/images.ts';
import { imagePath } from '../../shared/docker/call.ts';
import { type FairleadError, isFairleadError } from '../../shared/errors.ts';
import type { StackEnv } from '../../shared/messages/stack.ts';
import type { ProgressLines } from '../../shared/stacks/progress.ts';
import { pullImage } from './archives.ts';
import type { KindContext } from './kind.ts';

const STEP = 'pull';

export interface PullOptions {
  readonly compose: string;
  readonly env: StackEnv;
  /** Whether images are pulled that the host has already. */
  readonly always: boolean;
  readonly signal: AbortSignal;
}

/**
 * @returns whether the host has all images then. What is missing is for Compose to pull: it may have credentials that are needed.
 * @throws FairleadError STREAM_INTERRUPTED, HOST_OFFLINE, the reason of the signal
 */
export async function pullStackImages(
  context: KindContext,
  { compose, env, always, signal }: PullOptions,
  lines: ProgressLines,
): Promise<boolean> {
  const { images, isAll } = imagesOf(compose, env);
  let areThere = isAll;
  for (const image of images) {
    if (!always && (await hasImage(context, image, signal))) continue;
    try {
      await pullImage(context.transport, image, { signal, onRecord: (record) => tell(lines, image, record) });
    } catch (error) {
      if (signal.aborted || !isRefusal(error)) throw error;
      areThere = false;
      lines.add(STEP, `${image.reference}: not pulled, which is left to Compose: ${error.message}`);
    }
  }
  return areThere;
}

async function hasImage(context: KindContext, { reference }: StackImage, signal: AbortSignal): Promise<boolean> {
  const { status } = await context.ask({ method: 'GET', path: imagePath(reference, '/json') }, { signal });
  return status === 200;
}

/** Without what a terminal would draw again and again. */
function tell(lines: ProgressLines, { reference }: StackImage, record: Record<string, unknown>): void {
  const { status, id, progress } = record;
  if (typeof status !== 'string' || progress !== undefined) return;
  lines.add(STEP, `${reference}: ${typeof id === 'string' ? `${id}: ` : ''}${status}`);
}

/** Whether it is Docker's word, and not the way to it that is at fault. */
function isRefusal(error: unknown): error is FairleadError {
  return (['NOT_FOUND', 'DOCKER_ERROR', 'VALIDATION', 'CONFLICT'] as const).some((code) =>
    isFairleadError(error, code),
  );
}
