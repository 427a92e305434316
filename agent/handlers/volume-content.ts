/** Handlers that read and change what is in volumes: browse, export, import, and both ends of a transfer. */
import { FairleadError } from '../../shared/errors.ts';
import type { Params } from '../../shared/messages/kind.ts';
import type * as kinds from '../../shared/messages/volume-content.ts';
import type { MuxStream } from '../../shared/mux/stream.ts';
import { pump } from '../../shared/pump.ts';
import type { VolumeHelper } from '../docker/volume-helper.ts';
import { pickEntries } from '../volumes/browse.ts';
import { findVolume, getVolume, makeVolume, refuseUsers, removeVolume, sizeOf, usersOf } from '../volumes/facts.ts';
import { requireLocal } from '../volumes/put-in-place.ts';
import { type TarTail, wholeTar } from '../volumes/tar.ts';
import type { Volumes } from '../volumes/volumes.ts';
import type { Handler, HandlerContext } from './handler.ts';

const DEFAULT_ENTRIES = 1_000;
/** How long a directory is looked for and through: what is below it is read on the way. */
const BROWSE_MS = 25_000;

function volumesOf({ volumes }: HandlerContext): Volumes {
  if (volumes === undefined) throw new FairleadError('UNSUPPORTED', 'this agent does not reach into volumes');
  return volumes;
}

export const handleVolumeBrowse: Handler<typeof kinds.volumeBrowse> = async (stream, context) => {
  const { docker } = context;
  const volumes = volumesOf(context);
  const { volume, path = '', limit = DEFAULT_ENTRIES } = stream.params;
  const { aborted } = stream;
  await getVolume(docker, volume, aborted);
  const entries: Parameters<typeof stream.sendItem>[0][] = [];
  const truncated = await volumes.withHelper(volume, aborted, async (helper) => {
    const tar = await helper.read(`${path}/.`, aborted);
    const until = docker.clock.monotonic() + BROWSE_MS;
    const isOver = () => docker.clock.monotonic() >= until;
    try {
      return await pickEntries(tar, { limit, isOver, take: (entry) => entries.push(entry) });
    } finally {
      tar.destroy();
    }
  });
  stream.sendReply({});
  for (const entry of entries) await stream.sendItem(entry);
  stream.finish({ truncated });
};

export const handleVolumeExport: Handler<typeof kinds.volumeExport> = async (stream, context) => {
  const { docker } = context;
  const volumes = volumesOf(context);
  const { volume, path = '.' } = stream.params;
  const { aborted } = stream;
  await getVolume(docker, volume, aborted);
  await volumes.withHelper(volume, aborted, async (helper) => {
    const tar = await helper.read(path, aborted);
    const tail = wholeTar(tar);
    try {
      stream.sendReply({});
      await pump(tail, stream.bytes, aborted);
    } finally {
      tar.destroy();
    }
  });
  stream.finish();
};

export const handleVolumeImport: Handler<typeof kinds.volumeImport> = async (stream, context) => {
  const { docker } = context;
  const volumes = volumesOf(context);
  const { volume, path = '' } = stream.params;
  const { aborted } = stream;
  const created = await volumes.changing(volume, async () => {
    const isThere = (await findVolume(docker, volume, aborted)) !== undefined;
    if (!isThere) await makeNew(stream, docker);
    try {
      await volumes.withHelper(volume, aborted, (helper) => helper.write(path, stream.bytes, aborted));
    } catch (error) {
      if (!isThere) await removeVolume(docker, volume);
      throw error;
    }
    return !isThere;
  });
  stream.bytes.resume();
  stream.sendReply({ created });
  stream.finish();
};

async function makeNew(
  { kind, params }: MuxStream<typeof kinds.volumeImport>,
  docker: HandlerContext['docker'],
): Promise<void> {
  docker.requireNamed(kind, { method: 'POST', path: '/volumes/create' });
  docker.requireNamed(kind, { method: 'DELETE', path: '/volumes/any' });
  await makeVolume(docker, params.volume, { driver: 'local', options: {}, labels: {} });
}

export const handleTransferSend: Handler<typeof kinds.volumeTransferSend> = async (stream, context) => {
  const { docker } = context;
  const volumes = volumesOf(context);
  const { volume, force = false } = stream.params;
  const { aborted, bytes } = stream;
  const { make } = await getVolume(docker, volume, aborted);
  requireLocal(volume, make);
  if (!force) {
    const running = (await usersOf(docker, volumes.owner, volume, aborted)).filter(({ isRunning }) => isRunning);
    refuseUsers(volume, running, 'stop these containers first, or force it and take what is there at the moment');
  }
  // Docker measures all that it has for it: once is enough.
  const estimatedBytes = stream.params.offset === 0 ? await sizeOf(docker, volume, aborted) : undefined;
  await volumes.withHelper(volume, aborted, async (helper) => {
    const { tail, offset } = await openFrom(helper, stream.params, aborted);
    try {
      stream.sendReply({ offset, make, ...(estimatedBytes === undefined ? {} : { estimatedBytes }) });
      await pump(tail, bytes, aborted);
      stream.finish(tail.sum);
    } finally {
      tail.destroy();
    }
  });
};

/** A tar of the volume from the offset on, or from its beginning if what stands before the offset is not what it was. */
async function openFrom(
  helper: VolumeHelper,
  { offset, sha256 }: Params<typeof kinds.volumeTransferSend>,
  signal: AbortSignal,
): Promise<{ tail: TarTail; offset: number }> {
  if (offset > 0) {
    const tail = wholeTar(await helper.readWhole(signal), offset);
    const before = await tail.reached;
    if (before !== undefined && before.sha256 === sha256) return { tail, offset };
    tail.destroy();
  }
  return { tail: wholeTar(await helper.readWhole(signal)), offset: 0 };
}

export const handleTransferPrepare: Handler<typeof kinds.volumeTransferPrepare> = async (stream, context) => {
  const volumes = volumesOf(context);
  const { id, volume, replace = false, force = false } = stream.params;
  const { bytes, sha256, done } = await volumes.prepare(id, { volume, replace, force }, stream.aborted);
  stream.sendReply({ offset: bytes, sha256, ...(done ? { done } : {}) });
  stream.finish();
};

export const handleTransferReceive: Handler<typeof kinds.volumeTransferReceive> = async (stream, context) => {
  const volumes = volumesOf(context);
  const { id, offset, estimatedBytes: estimate = 0 } = stream.params;
  stream.sendReply({});
  stream.finish(await volumes.receive(id, stream.bytes, { offset, estimate }));
};

export const handleTransferApply: Handler<typeof kinds.volumeTransferApply> = async (stream, context) => {
  const volumes = volumesOf(context);
  const { id, volume, bytes, sha256, make, replace = false, force = false } = stream.params;
  stream.sendReply(await volumes.apply({ id, volume, make, replace, force, sum: { bytes, sha256 } }));
  stream.finish();
};

export const handleTransferDiscard: Handler<typeof kinds.volumeTransferDiscard> = async (stream, context) => {
  const volumes = volumesOf(context);
  await volumes.discard(stream.params.id);
  stream.sendReply({});
  stream.finish();
};
