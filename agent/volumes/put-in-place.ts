/**
 * Puts a received tar into a volume so that the volume is what was sent or, whatever fails on the way, what it was before.
 * What has to be undone is on disk before anything is changed: the agent may be killed at any point.
 */

import type { Readable } from 'node:stream';
import { isDeepStrictEqual } from 'node:util';
import type { Clock } from '../../shared/clock.ts';
import { FairleadError, isFairleadError } from '../../shared/errors.ts';
import type { VolumeMake } from '../../shared/messages/volume-content.ts';
import type { DockerEngine } from '../docker/engine.ts';
import type { VolumeHelper } from '../docker/volume-helper.ts';
import { findVolume, isEmpty, makeVolume, refuseUsers, removeVolume, usersOf } from './facts.ts';
import type { Journal, Spools } from './spools.ts';
import { contentHash, type Sum, TarTail } from './tar.ts';

/** How far Docker's clock, which says when a volume was made, may be behind: it says whole seconds. */
const CREATED_SLACK_MS = 2_000;
/** How long Docker may take to tell whether something is in a volume, and to give all of it: it may hang. */
const LOOK_MS = 10 * 60_000;
const READ_MS = 12 * 60 * 60_000;

export interface PutParts {
  readonly docker: DockerEngine;
  readonly spools: Spools;
  /** Whose helpers are no users of a volume. */
  readonly owner: string;
  withHelper<T>(
    volume: string,
    signal: AbortSignal | undefined,
    work: (helper: VolumeHelper) => Promise<T>,
  ): Promise<T>;
}

export interface Target {
  readonly volume: string;
  readonly replace: boolean;
  readonly force: boolean;
}

export interface PutRequest extends Target {
  readonly id: string;
  readonly sum: Sum;
  /** How the volume is made if there is none. */
  readonly make: VolumeMake;
}

export interface PutResult {
  readonly created: boolean;
  readonly replaced: boolean;
}

/** What is there before. */
type Before = Pick<Journal, 'before' | 'make' | 'madeAt'> & { readonly isUsed: boolean };

/**
 * Whether a volume may be filled, and what there is of it.
 * @throws FairleadError CONFLICT that says why not
 */
export async function lookAtTarget(
  { docker, owner, withHelper }: PutParts,
  { volume, replace, force }: Target,
  { make, signal }: { make?: VolumeMake; signal?: AbortSignal | undefined } = {},
): Promise<Before> {
  const found = await findVolume(docker, volume, signal);
  if (found === undefined) return { before: 'absent', make: make ?? plain(), isUsed: false };
  requireLocal(volume, found.make);
  const users = await usersOf(docker, owner, volume, signal);
  const look = (helper: VolumeHelper) => inTime(docker.clock, LOOK_MS, signal, (end) => isEmpty(helper, end));
  const isFull = !(await withHelper(volume, signal, look));
  if (isFull && !replace) {
    const advice = 'ask for it to be replaced, or choose another name';
    throw new FairleadError('CONFLICT', `the volume ${volume} is there already, and not empty: ${advice}`);
  }
  // Docker replaces no volume that a container refers to, whoever asks.
  if (isFull) refuseUsers(volume, users, 'it can be replaced once no container refers to it');
  if (!force) refuseUsers(volume, users, 'remove these containers first, or force it');
  const madeAt = found.createdAt === undefined ? {} : { madeAt: found.createdAt };
  return { before: isFull ? 'full' : 'empty', make: found.make, isUsed: users.length > 0, ...madeAt };
}

/** @throws FairleadError UNSUPPORTED for a volume whose contents are not on this host, or elsewhere than Docker puts them */
export function requireLocal(volume: string, { driver, options }: VolumeMake): void {
  const names = Object.keys(options);
  if (driver === 'local' && names.length === 0) return;
  const how = driver === 'local' ? `has options (${names.join(', ')})` : `is of the driver ${driver}`;
  throw new FairleadError('UNSUPPORTED', `the volume ${volume} ${how}: only plain local volumes are transferred`);
}

function plain(): VolumeMake {
  return { driver: 'local', options: {}, labels: {} };
}

/** @throws FairleadError; the volume is as it was before then, or is made so at the agent's next start */
export async function putInPlace(parts: PutParts, request: PutRequest): Promise<PutResult> {
  const { docker, spools } = parts;
  const { id, volume, sum } = request;
  requireLocal(volume, request.make);
  const tar = await spools.verified(id, sum);
  const { isUsed, ...before } = await lookAtTarget(parts, request, { make: request.make });
  if (before.before === 'full') await keepOld(parts, id, volume);
  const journal: Journal = { volume, ...before, state: 'undoable', at: docker.clock.now() };
  // Docker does not remove what is used, so that nothing can be undone: that is what whoever forces it has chosen.
  if (isUsed) await fill(parts, volume, tar, undefined);
  else await fillOrUndo(parts, id, journal, { tar, sum });
  await spools.writeJournal(id, { ...journal, state: 'done' });
  await spools.dropTars(id);
  return resultOf(journal);
}

async function fillOrUndo(
  parts: PutParts,
  id: string,
  journal: Journal,
  { tar, sum }: { tar: () => Readable; sum: Sum },
): Promise<void> {
  const { docker, spools } = parts;
  const { volume, before, make } = journal;
  await spools.writeJournal(id, journal);
  try {
    if (before === 'full') await removeVolume(docker, volume);
  } catch (error) {
    // Nothing was changed: a container may have come to use it.
    if (isFairleadError(error, 'CONFLICT')) await spools.forgetJournal(id);
    throw error;
  }
  try {
    if (before !== 'empty') await makeVolume(docker, volume, make);
    await fill(parts, volume, tar, sum);
  } catch (error) {
    await undoOrSay(parts, id, journal, error);
    throw error;
  }
}

/** What a transfer that is done has come to. */
export function resultOf({ before }: Journal): PutResult {
  return { created: before === 'absent', replaced: before === 'full' };
}

/** Makes a volume what it was before a transfer that a killed agent was putting in place. @throws as `undo` */
export async function undoLeft(parts: PutParts, id: string, journal: Journal): Promise<void> {
  const found = await findVolume(parts.docker, journal.volume);
  const isUntouched = journal.before === 'full' && journal.madeAt !== undefined && found?.createdAt === journal.madeAt;
  if (isUntouched) await parts.spools.forgetJournal(id);
  else await undo(parts, id, journal);
}

/**
 * Makes a volume what it was before a transfer that did not come to its end.
 * @throws FairleadError CONFLICT when a container refers to it by now; what it had is kept on disk then, if it had anything
 */
async function undo(parts: PutParts, id: string, journal: Journal): Promise<void> {
  const { docker, spools } = parts;
  const { volume, before, make, at } = journal;
  const found = await findVolume(docker, volume);
  const isOurs = found?.createdAt === undefined || found.createdAt >= at - CREATED_SLACK_MS;
  try {
    // What somebody has made since under the name is none of this transfer's.
    if (found !== undefined && (before !== 'absent' || isOurs)) await removeVolume(docker, volume);
  } catch (error) {
    // Somebody uses it as it is, and later on it would be theirs that is removed.
    if (before !== 'full' && isFairleadError(error, 'CONFLICT')) await spools.forgetJournal(id);
    throw error;
  }
  if (before !== 'absent') await makeVolume(docker, volume, make);
  if (before === 'full') await fill(parts, volume, () => spools.old(id), undefined);
  await spools.forgetJournal(id);
}

async function undoOrSay(parts: PutParts, id: string, journal: Journal, cause: unknown): Promise<void> {
  try {
    await undo(parts, id, journal);
  } catch (error) {
    // An agent that is stopping does it at its next start, with all that it needs for it on disk.
    if (isFairleadError(error, 'SHUTDOWN') || !isFairleadError(error)) throw error;
    const why = isFairleadError(cause) ? cause.message : 'an unexpected error';
    const state = `the volume ${journal.volume} could not be made what it was (${error.message})`;
    const then = 'the agent tries again when it starts';
    throw new FairleadError(error.code, `${why}; and ${state}; ${then}`, { cause });
  }
}

/** Keeps what a volume has, whole and on disk, before it is removed. */
async function keepOld({ docker, withHelper, spools }: PutParts, id: string, volume: string): Promise<void> {
  const keep = async (helper: VolumeHelper, signal: AbortSignal) => {
    const source = await helper.readWhole(signal);
    const tail = source.pipe(new TarTail());
    source.on('error', (error) => tail.destroy(error));
    try {
      await spools.keepOld(id, tail);
    } finally {
      source.destroy();
    }
  };
  await withHelper(volume, undefined, (helper) =>
    inTime(docker.clock, READ_MS, undefined, (signal) => keep(helper, signal)),
  );
}

/** Does what ends when its signal does: after `ms`, or with `aborted`. @throws FairleadError TIMEOUT */
async function inTime<T>(
  clock: Clock,
  ms: number,
  aborted: AbortSignal | undefined,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const late = new AbortController();
  const why = `Docker did not give what is in the volume within ${ms / 60_000} min`;
  const timer = clock.setTimeout(() => late.abort(new FairleadError('TIMEOUT', why)), ms);
  try {
    return await work(AbortSignal.any([late.signal, ...(aborted === undefined ? [] : [aborted])]));
  } finally {
    timer.cancel();
  }
}

/** @param sum of the tar: then what is in the volume afterwards is compared with it */
async function fill(
  { docker, withHelper }: PutParts,
  volume: string,
  open: () => Readable,
  sum: Sum | undefined,
): Promise<void> {
  await withHelper(volume, undefined, async (helper) => {
    const tar = open();
    try {
      await helper.writeWhole(tar);
    } finally {
      tar.destroy();
    }
    if (sum === undefined) return;
    await inTime(docker.clock, READ_MS, undefined, (signal) => verify(helper, open, sum, signal));
  });
}

/** @throws FairleadError DOCKER_ERROR when the volume does not have what the tar has */
async function verify(helper: VolumeHelper, open: () => Readable, sum: Sum, signal: AbortSignal): Promise<void> {
  const written = await helper.readWhole(signal);
  const tail = written.pipe(new TarTail());
  written.on('error', (error) => tail.destroy(error));
  tail.resume();
  const isSame = await new Promise<boolean>((resolve, reject) => {
    tail.on('error', reject).on('end', () => resolve(isDeepStrictEqual(tail.sum, sum)));
  });
  if (isSame) return;
  // Engines of different versions may write the same content in different ways.
  const there = await contentHash(await helper.readWhole(signal));
  const tar = open();
  try {
    if ((await contentHash(tar)) === there) return;
  } finally {
    tar.destroy();
  }
  throw new FairleadError('DOCKER_ERROR', 'what Docker has written into the volume is not what was sent');
}
