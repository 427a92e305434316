/** A registry of images for tests, at 127.0.0.1, where Docker asks for no TLS. */
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { sharedDocker } from './docker.ts';
import type { TestEngine } from './engine.ts';
import { type Cleanup, defer } from './tmp.ts';
import { tarOf } from './volumes.ts';

export interface RegistryOptions {
  /** Judges the Authorization header of each request; absent: everyone is let in. */
  readonly wants?: (authorization: string | undefined) => boolean;
  /** The Engine that pulls, if not the shared one: what it has pulled is removed after the test. */
  readonly engine?: TestEngine;
}

export interface TestRegistry {
  /** The image's, with the registry's address; its tags are `latest` and `1`. */
  readonly name: string;
  /** From now on the layer is not what its digest says. */
  breakLayer(): void;
  /** From now on only the first half of the layer is sent, and the rest never. */
  holdLayer(): void;
  /** Layers that are held now: Docker goes on waiting for them when whoever asked for the pull has left. */
  held(): number;
  /** Breaks off those. */
  dropHeld(): void;
}

const media = (name: string) => `application/vnd.docker.${name}`;
const MANIFEST_TYPE = media('distribution.manifest.v2+json');
const LAYER_BYTES = 100_000;

/** Starts a registry of one image with one layer. */
export async function startRegistry(cleanup: Cleanup, options: RegistryOptions = {}): Promise<TestRegistry> {
  const { wants, engine } = options;
  const docker = engine?.docker ?? sharedDocker;
  const { layer, config, manifest } = await newImage();
  const blobs: Record<string, Buffer> = { [digest(layer)]: layer, [digest(config)]: config };
  let layerIs: 'whole' | 'broken' | 'held' = 'whole';
  const held = new Set<ServerResponse>();
  const hold = (response: ServerResponse) => {
    held.add(response.once('close', () => held.delete(response)));
    response.writeHead(200, { 'content-length': layer.length }).write(layer.subarray(0, layer.length / 2));
  };
  const http = createServer(({ url = '', headers }, response) => {
    const answer = (status: number, body: Uint8Array | string, more = {}) =>
      void response.writeHead(status, { 'content-length': Buffer.byteLength(body), ...more }).end(body);
    if (wants?.(headers.authorization) === false)
      return answer(401, '{}', { 'www-authenticate': 'Basic realm="test"' });
    if (url === '/v2/') return answer(200, '{}');
    const blob = blobs[/\/blobs\/(.+)$/.exec(url)?.[1] ?? ''];
    if (blob === layer && layerIs === 'held') return hold(response);
    if (blob !== undefined)
      return answer(200, layerIs === 'broken' && blob === layer ? Buffer.alloc(blob.length) : blob);
    if (/\/manifests\/(?:latest|1|sha256:.*)$/.test(url)) {
      return answer(200, manifest, { 'docker-content-digest': digest(manifest), 'content-type': MANIFEST_TYPE });
    }
    const errors = [{ code: 'MANIFEST_UNKNOWN', message: 'manifest unknown' }];
    return answer(404, JSON.stringify({ errors }), { 'content-type': 'application/json' });
  });
  if (engine === undefined) http.listen(0, '127.0.0.1');
  else http.listen(await engine.listen());
  await once(http, 'listening');
  defer(cleanup, () => {
    http.closeAllConnections();
    http.close();
  });
  const name = `127.0.0.1:${(http.address() as AddressInfo).port}/fl-test/${randomBytes(6).toString('hex')}`;
  for (const tag of ['latest', '1']) defer(cleanup, () => docker.api('DELETE', `/images/${name}:${tag}`));
  return {
    name,
    breakLayer: () => {
      layerIs = 'broken';
    },
    holdLayer: () => {
      layerIs = 'held';
    },
    held: () => held.size,
    dropHeld: () => {
      for (const response of held) response.destroy();
    },
  };
}

const digest = (bytes: Uint8Array) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

/** An image that no Engine has yet. */
async function newImage(): Promise<Record<'layer' | 'config' | 'manifest', Buffer>> {
  const layerTar = await tarOf([{ name: 'noise', content: randomBytes(LAYER_BYTES) }]);
  const layer = gzipSync(layerTar);
  const os = { architecture: process.arch === 'x64' ? 'amd64' : process.arch, os: 'linux' };
  const rootfs = { type: 'layers', diff_ids: [digest(layerTar)] };
  const config = Buffer.from(JSON.stringify({ ...os, config: { Labels: { 'fairlead.test': '1' } }, rootfs }));
  const manifest = {
    ...{ schemaVersion: 2, mediaType: MANIFEST_TYPE },
    config: { mediaType: media('container.image.v1+json'), size: config.length, digest: digest(config) },
    layers: [{ mediaType: media('image.rootfs.diff.tar.gzip'), size: layer.length, digest: digest(layer) }],
  };
  return { layer, config, manifest: Buffer.from(JSON.stringify(manifest)) };
}
