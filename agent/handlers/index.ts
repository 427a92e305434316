/** Which handler serves which kind. */
import { containerExecOpen, containerLogStream, containerStats } from '../../shared/messages/container.ts';
import * as containerStreams from '../../shared/messages/container-streams.ts';
import { dockerRequest, dockerUpgrade } from '../../shared/messages/docker.ts';
import { hostInfo, hostThroughput } from '../../shared/messages/host.ts';
import { hostEvents } from '../../shared/messages/host-events.ts';
import * as imageStreams from '../../shared/messages/image-streams.ts';
import type { StreamKind } from '../../shared/messages/kind.ts';
import { hostMetrics, hostStats } from '../../shared/messages/metrics.ts';
import * as stack from '../../shared/messages/stack.ts';
import { tcpOpen } from '../../shared/messages/tcp.ts';
import * as volumeContent from '../../shared/messages/volume-content.ts';
import * as archives from './archives.ts';
import { handleAttach } from './attach.ts';
import { handleStats } from './container-stats.ts';
import { handleDockerRequest, handleDockerUpgrade } from './docker.ts';
import { handleExecOpen } from './exec.ts';
import { handleExecRun } from './exec-run.ts';
import type { Handler } from './handler.ts';
import { handleHostInfo } from './host.ts';
import { handleHostEvents } from './host-events.ts';
import { handleLogStream } from './logs.ts';
import { handleHostMetrics, handleHostStats } from './metrics.ts';
import { handleImagePull } from './progress.ts';
import { STACK_CHANGES } from './stack-changes.ts';
import { handleStackLogs } from './stack-logs.ts';
import { handleStackList, handleStackStatus } from './stack-read.ts';
import { handleTcpOpen } from './tcp.ts';
import { handleThroughput } from './throughput.ts';
import { UNARY_HANDLERS } from './unary.ts';
import * as content from './volume-content.ts';

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
  ...UNARY_HANDLERS.map(([kind, handler]) => serve(kind, handler)),
  serve(hostInfo, handleHostInfo),
  serve(hostThroughput, handleThroughput),
  serve(hostEvents, handleHostEvents),
  serve(hostMetrics, handleHostMetrics),
  serve(hostStats, handleHostStats),
  serve(containerStats, handleStats),
  serve(containerLogStream, handleLogStream),
  serve(containerExecOpen, handleExecOpen),
  serve(containerStreams.containerExecRun, handleExecRun),
  serve(containerStreams.containerAttach, handleAttach),
  serve(containerStreams.containerArchiveGet, archives.handleArchiveGet),
  serve(containerStreams.containerArchivePut, archives.handleArchivePut),
  serve(imageStreams.imagePull, handleImagePull),
  serve(imageStreams.imageSave, archives.handleImageSave),
  serve(imageStreams.imageLoad, archives.handleImageLoad),
  serve(dockerRequest, handleDockerRequest),
  serve(dockerUpgrade, handleDockerUpgrade),
  serve(volumeContent.volumeBrowse, content.handleVolumeBrowse),
  serve(volumeContent.volumeExport, content.handleVolumeExport),
  serve(volumeContent.volumeImport, content.handleVolumeImport),
  serve(volumeContent.volumeTransferSend, content.handleTransferSend),
  serve(volumeContent.volumeTransferPrepare, content.handleTransferPrepare),
  serve(volumeContent.volumeTransferReceive, content.handleTransferReceive),
  serve(volumeContent.volumeTransferApply, content.handleTransferApply),
  serve(volumeContent.volumeTransferDiscard, content.handleTransferDiscard),
  serve(tcpOpen, handleTcpOpen),
  serve(stack.stackList, handleStackList),
  serve(stack.stackStatus, handleStackStatus),
  serve(stack.stackLogs, handleStackLogs),
  ...STACK_CHANGES.map(([kind, handler]) => serve(kind, handler)),
]);
