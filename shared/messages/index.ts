/** The catalogue of `fairlead.v1`: every kind that a session of this version knows. */
import * as container from './container.ts';
import * as containerStreams from './container-streams.ts';
import { CONTROL_KINDS } from './control.ts';
import * as docker from './docker.ts';
import * as host from './host.ts';
import { hostEvents } from './host-events.ts';
import * as image from './image.ts';
import * as imageStreams from './image-streams.ts';
import { catalogue } from './kind.ts';
import * as metrics from './metrics.ts';
import * as network from './network.ts';
import { releaseRead } from './release.ts';
import * as stack from './stack.ts';
import * as tcp from './tcp.ts';
import * as volume from './volume.ts';
import * as volumeContent from './volume-content.ts';

export const STREAM_KINDS = [
  host.hostInfo,
  host.hostLeave,
  host.hostThroughput,
  hostEvents,
  metrics.hostMetrics,
  metrics.hostStats,
  container.containerList,
  container.containerInspect,
  container.containerStart,
  container.containerStop,
  container.containerRestart,
  container.containerKill,
  container.containerPause,
  container.containerUnpause,
  container.containerRemove,
  container.containerTop,
  container.containerStats,
  container.containerLogStream,
  container.containerExecOpen,
  container.containerCreate,
  container.containerRename,
  container.containerPrune,
  containerStreams.containerExecRun,
  containerStreams.containerAttach,
  containerStreams.containerArchiveGet,
  containerStreams.containerArchivePut,
  docker.dockerRequest,
  docker.dockerUpgrade,
  image.imageList,
  image.imageInspect,
  image.imageRemove,
  image.imagePrune,
  image.imageTag,
  imageStreams.imagePull,
  imageStreams.imageSave,
  imageStreams.imageLoad,
  network.networkList,
  network.networkInspect,
  network.networkCreate,
  network.networkRemove,
  network.networkConnect,
  network.networkDisconnect,
  network.networkPrune,
  volume.volumeList,
  volume.volumeInspect,
  volume.volumeCreate,
  volume.volumeRemove,
  volume.volumePrune,
  volumeContent.volumeBrowse,
  volumeContent.volumeExport,
  volumeContent.volumeImport,
  volumeContent.volumeTransferSend,
  volumeContent.volumeTransferPrepare,
  volumeContent.volumeTransferReceive,
  volumeContent.volumeTransferApply,
  volumeContent.volumeTransferDiscard,
  tcp.tcpOpen,
  stack.stackList,
  stack.stackDeploy,
  stack.stackRemove,
  stack.stackStart,
  stack.stackStop,
  stack.stackRestart,
  stack.stackPull,
  stack.stackLogs,
  stack.stackStatus,
  stack.stackScale,
  releaseRead,
] as const;

/**
 * The kinds of the first catalogue, which every agent knows. An agent that does not know a kind ends its session for it, so
 * that any other is opened only if the agent has named it.
 */
export const FIRST_KINDS: ReadonlySet<string> = new Set(
  [
    host.hostInfo,
    container.containerList,
    container.containerInspect,
    container.containerStart,
    container.containerStop,
    container.containerRestart,
    container.containerKill,
    container.containerPause,
    container.containerUnpause,
    container.containerRemove,
    container.containerTop,
    container.containerStats,
    container.containerLogStream,
    container.containerExecOpen,
    docker.dockerRequest,
    docker.dockerUpgrade,
  ].map(({ name }) => name),
);

/** Protocol versions this build speaks. */
export const PROTOCOL_VERSIONS = [1] as const;
/** The WebSocket subprotocol of version 1. */
export const SUBPROTOCOL = 'fairlead.v1';

export const CATALOGUE = catalogue(CONTROL_KINDS, STREAM_KINDS);
