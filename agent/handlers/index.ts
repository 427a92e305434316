/** Which handler serves which kind. */
import * as container from '../../shared/messages/container.ts';
import { dockerRequest, dockerUpgrade } from '../../shared/messages/docker.ts';
import { hostInfo, hostThroughput } from '../../shared/messages/host.ts';
import * as image from '../../shared/messages/image.ts';
import type { StreamKind } from '../../shared/messages/kind.ts';
import * as network from '../../shared/messages/network.ts';
import { tcpOpen } from '../../shared/messages/tcp.ts';
import * as volume from '../../shared/messages/volume.ts';
import * as volumeContent from '../../shared/messages/volume-content.ts';
import * as change from './container-change.ts';
import * as make from './container-make.ts';
import * as read from './container-read.ts';
import { handleDockerRequest, handleDockerUpgrade } from './docker.ts';
import { handleExecOpen } from './exec.ts';
import type { Handler } from './handler.ts';
import { handleHostInfo } from './host.ts';
import * as images from './images.ts';
import { handleLogStream } from './logs.ts';
import * as networks from './networks.ts';
import { handleTcpOpen } from './tcp.ts';
import { handleThroughput } from './throughput.ts';
import * as content from './volume-content.ts';
import * as volumes from './volumes.ts';

export type { Handler, HandlerContext } from './handler.ts';

/** A handler under its kind's code. What Docker's connections fail with gets its code and its sentence here. */
function serve<K extends StreamKind>(kind: K, handler: Handler<K>): [number, Handler] {
  const explained: Handler<K> = async (stream, context) => {
    try {
      await handler(stream, context);
    } catch (error) {
      throw context.docker.explain(error);
    }
  };
  // The map forgets which kind its key stands for; whoever looks up a stream's own kind gets the right one.
  return [kind.code, explained as unknown as Handler];
}

/** All handlers, by the code of the kind that they serve. */
export const HANDLERS: ReadonlyMap<number, Handler> = new Map([
  serve(hostInfo, handleHostInfo),
  serve(hostThroughput, handleThroughput),
  serve(container.containerList, read.handleList),
  serve(container.containerInspect, read.handleInspect),
  serve(container.containerTop, read.handleTop),
  serve(container.containerStats, read.handleStats),
  serve(container.containerStart, change.handleStart),
  serve(container.containerStop, change.handleStop),
  serve(container.containerRestart, change.handleRestart),
  serve(container.containerKill, change.handleKill),
  serve(container.containerPause, change.handlePause),
  serve(container.containerUnpause, change.handleUnpause),
  serve(container.containerRemove, change.handleRemove),
  serve(container.containerLogStream, handleLogStream),
  serve(container.containerExecOpen, handleExecOpen),
  serve(container.containerCreate, make.handleCreate),
  serve(container.containerRename, make.handleRename),
  serve(container.containerPrune, make.handleContainerPrune),
  serve(dockerRequest, handleDockerRequest),
  serve(dockerUpgrade, handleDockerUpgrade),
  serve(image.imageList, images.handleImageList),
  serve(image.imageInspect, images.handleImageInspect),
  serve(image.imageRemove, images.handleImageRemove),
  serve(image.imagePrune, images.handleImagePrune),
  serve(image.imageTag, images.handleImageTag),
  serve(network.networkList, networks.handleNetworkList),
  serve(network.networkInspect, networks.handleNetworkInspect),
  serve(network.networkCreate, networks.handleNetworkCreate),
  serve(network.networkRemove, networks.handleNetworkRemove),
  serve(network.networkConnect, networks.handleNetworkConnect),
  serve(network.networkDisconnect, networks.handleNetworkDisconnect),
  serve(network.networkPrune, networks.handleNetworkPrune),
  serve(volume.volumeList, volumes.handleVolumeList),
  serve(volume.volumeInspect, volumes.handleVolumeInspect),
  serve(volume.volumeCreate, volumes.handleVolumeCreate),
  serve(volume.volumeRemove, volumes.handleVolumeRemove),
  serve(volume.volumePrune, volumes.handleVolumePrune),
  serve(volumeContent.volumeBrowse, content.handleVolumeBrowse),
  serve(volumeContent.volumeExport, content.handleVolumeExport),
  serve(volumeContent.volumeImport, content.handleVolumeImport),
  serve(volumeContent.volumeTransferSend, content.handleTransferSend),
  serve(volumeContent.volumeTransferPrepare, content.handleTransferPrepare),
  serve(volumeContent.volumeTransferReceive, content.handleTransferReceive),
  serve(volumeContent.volumeTransferApply, content.handleTransferApply),
  serve(volumeContent.volumeTransferDiscard, content.handleTransferDiscard),
  serve(tcpOpen, handleTcpOpen),
]);
