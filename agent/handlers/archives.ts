/** Handlers that carry tars: of files in containers, and of images. */
import { dockerPath } from '../../shared/docker/call.ts';
import { loadedIn } from '../../shared/docker/progress.ts';
import type { containerArchiveGet, containerArchivePut } from '../../shared/messages/container-streams.ts';
import type { imageLoad, imageSave } from '../../shared/messages/image-streams.ts';
import { pump } from '../../shared/pump.ts';
import { wholeTar } from '../volumes/tar.ts';
import { withAnswer } from './answer.ts';
import type { Handler } from './handler.ts';

const TAR_TYPE = 'application/x-tar';
const STAT_HEADER = 'x-docker-container-path-stat';
/** Time for Docker to begin a tar: that of an image it gathers first. */
const FILES_MS = 60_000;
const IMAGE_MS = 600_000;

export const handleArchiveGet: Handler<typeof containerArchiveGet> = async (stream, { docker }) => {
  const { id, path, statOnly = false } = stream.params;
  const target = `${dockerPath`/containers/${id}/archive`}?${new URLSearchParams({ path })}`;
  await withAnswer(stream, docker, { method: 'GET', target, headMs: FILES_MS }, async ({ header, body }) => {
    stream.sendReply({ stat: header(STAT_HEADER) ?? '' });
    if (!statOnly) await pump(wholeTar(body), stream.bytes, stream.aborted);
  });
  stream.finish();
};

export const handleArchivePut: Handler<typeof containerArchivePut> = async (stream, { docker }) => {
  const { id, path, noOverwriteDirNonDir = false, copyUidGid = false } = stream.params;
  const query = {
    path,
    ...(noOverwriteDirNonDir ? { noOverwriteDirNonDir: '1' } : {}),
    ...(copyUidGid ? { copyUIDGID: '1' } : {}),
  };
  const call = { method: 'PUT', path: dockerPath`/containers/${id}/archive`, query } as const;
  await docker.upload({ ...call, contentType: TAR_TYPE, signal: stream.aborted }, stream.bytes);
  stream.bytes.resume();
  stream.sendReply({});
  stream.finish();
};

export const handleImageSave: Handler<typeof imageSave> = async (stream, { docker }) => {
  const names = new URLSearchParams(stream.params.references.map((name) => ['names', name]));
  const target = `/images/get?${names}`;
  await withAnswer(stream, docker, { method: 'GET', target, headMs: IMAGE_MS }, async ({ body }) => {
    stream.sendReply({});
    await pump(wholeTar(body), stream.bytes, stream.aborted);
  });
  stream.finish();
};

export const handleImageLoad: Handler<typeof imageLoad> = async (stream, { docker }) => {
  const call = { method: 'POST', path: '/images/load', query: { quiet: '1' } } as const;
  const text = await docker.upload({ ...call, contentType: TAR_TYPE, signal: stream.aborted }, stream.bytes);
  const loaded = loadedIn(text);
  stream.bytes.resume();
  stream.sendReply({ loaded });
  stream.finish();
};
