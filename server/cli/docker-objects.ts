/** Images, networks and volumes as Docker describes them, and as tables show them. */
import { bytes, relative, shortId } from './format.ts';
import type { Column } from './table.ts';

/** An image in Docker's list; the fields that are shown. */
export interface ImageSummary {
  Id: string;
  RepoTags?: string[] | null;
  RepoDigests?: string[] | null;
  /** Unix seconds. */
  Created?: number;
  Size?: number;
}

/** An image under one of its names. */
interface NamedImage extends ImageSummary {
  readonly repository: string;
  readonly tag: string;
}

const NONE = '<none>';

/** One row for each name of each image. */
export function namedImages(images: readonly ImageSummary[]): NamedImage[] {
  return images.flatMap((image) => {
    const tags = (image.RepoTags ?? []).filter((name) => name !== `${NONE}:${NONE}`);
    if (tags.length > 0) return tags.map((name) => ({ ...image, ...splitName(name) }));
    const [digest] = image.RepoDigests ?? [];
    return [{ ...image, repository: digest?.split('@')[0] ?? NONE, tag: NONE }];
  });
}

/** `repo:tag` apart; the colon of a registry's port is none before a tag. */
export function splitName(name: string): { repository: string; tag: string } {
  const colon = name.lastIndexOf(':');
  if (colon <= name.lastIndexOf('/')) return { repository: name, tag: '' };
  return { repository: name.slice(0, colon), tag: name.slice(colon + 1) };
}

export function imageColumns(now: number): Column<NamedImage>[] {
  return [
    ['REPOSITORY', (row) => row.repository],
    ['TAG', (row) => row.tag],
    ['IMAGE ID', (row) => shortId(row.Id)],
    ['CREATED', (row) => (row.Created === undefined ? undefined : relative(row.Created * 1000, now))],
    ['SIZE', (row) => (row.Size === undefined ? undefined : bytes(row.Size))],
  ];
}

/** What became of an image that was removed. */
export interface RemovedImage {
  Untagged?: string;
  Deleted?: string;
}

/** A line for each name and layer, as docker prints it. */
export function removedLines(removed: readonly RemovedImage[]): string[] {
  return removed.map(({ Untagged, Deleted }) =>
    Untagged === undefined ? `Deleted: ${Deleted ?? ''}` : `Untagged: ${Untagged}`,
  );
}

export interface NetworkSummary {
  Id: string;
  Name: string;
  Driver?: string;
  Scope?: string;
  Internal?: boolean;
  IPAM?: { Config?: { Subnet?: string }[] | null };
}

export const NETWORK_COLUMNS: readonly Column<NetworkSummary>[] = [
  ['NETWORK ID', (row) => shortId(row.Id)],
  ['NAME', (row) => row.Name],
  ['DRIVER', (row) => row.Driver],
  ['SCOPE', (row) => row.Scope],
  ['SUBNETS', (row) => row.IPAM?.Config?.flatMap(({ Subnet }) => Subnet ?? []).join(', ')],
];

export interface VolumeSummary {
  Name: string;
  Driver?: string;
  CreatedAt?: string;
  Mountpoint?: string;
}

export function volumeColumns(now: number): Column<VolumeSummary>[] {
  return [
    ['DRIVER', (row) => row.Driver],
    ['NAME', (row) => row.Name],
    ['CREATED', (row) => relative(row.CreatedAt, now)],
    ['MOUNTPOINT', (row) => row.Mountpoint],
  ];
}
