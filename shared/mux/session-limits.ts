/** The limits a session works with: the defaults of this version, which tests may narrow. */
import {
  ACK_EVERY_BYTES,
  CLOSED_STREAM_GRACE_MS,
  FRAME_PAYLOAD_BYTES,
  GOAWAY_DEADLINE_MS,
  HELLO_TIMEOUT_MS,
  INITIAL_WINDOW_BYTES,
  MAX_ACK_EVERY_BYTES,
  MAX_CONTROL_FRAMES_PER_SECOND,
  MAX_CONTROL_MESSAGE_BYTES,
  MAX_CONTROL_MESSAGE_NODES,
  MAX_CONTROL_MESSAGES_PER_SECOND,
  MAX_FRAME_BYTES,
  MAX_FRAME_BYTES_BEFORE_HELLO,
  MAX_INFLATED_BYTES_PER_SECOND,
  MAX_ITEM_BYTES,
  MAX_ITEM_NODES,
  MAX_MESSAGE_BYTES,
  MAX_MESSAGE_DEPTH,
  MAX_MESSAGE_NODES,
  MAX_OPEN_STREAMS,
  MAX_OPENS_PER_SECOND,
  MAX_PENDING_PINGS,
  MAX_QUEUED_CONTROL_BYTES,
  MAX_QUEUED_CONTROL_FRAMES,
  MAX_QUEUED_STREAM_BYTES,
  MAX_RESETS_PER_SECOND,
  MAX_SIGNAL_BYTES,
  MAX_SIGNALS_PER_SECOND,
  MAX_STREAM_OFFSET,
  MAX_UNANSWERED_OPENS,
  MAX_WINDOW_BYTES,
  MIN_ACK_EVERY_BYTES,
  SESSION_BUDGET_BYTES,
  SILENCE_MS,
  WINDOW_SHARE_BYTES,
} from '../limits.ts';

/** Each field is the constant of the same meaning in shared/limits.ts. */
export interface SessionLimits {
  readonly frameBytes: number;
  readonly greetingFrameBytes: number;
  readonly payloadBytes: number;
  readonly messageBytes: number;
  readonly depth: number;
  readonly nodes: number;
  readonly itemBytes: number;
  readonly itemNodes: number;
  readonly controlMessageBytes: number;
  readonly controlMessageNodes: number;
  readonly controlMessagesPerSecond: number;
  readonly openStreams: number;
  readonly unansweredOpens: number;
  readonly initialWindowBytes: number;
  readonly maxWindowBytes: number;
  readonly windowShareBytes: number;
  readonly budgetBytes: number;
  readonly maxStreamOffset: number;
  readonly signalBytes: number;
  readonly signalsPerSecond: number;
  readonly closedGraceMs: number;
  readonly helloTimeoutMs: number;
  readonly goawayDeadlineMs: number;
  readonly opensPerSecond: number;
  readonly resetsPerSecond: number;
  readonly controlFramesPerSecond: number;
  readonly ackEveryBytes: number;
  readonly minAckEveryBytes: number;
  readonly maxAckEveryBytes: number;
  readonly ackSilenceMs: number;
  readonly inflatedBytesPerSecond: number;
  readonly pendingPings: number;
  readonly queuedControlFrames: number;
  readonly queuedControlBytes: number;
  readonly queuedStreamBytes: number;
}

export const DEFAULT_LIMITS: SessionLimits = {
  frameBytes: MAX_FRAME_BYTES,
  greetingFrameBytes: MAX_FRAME_BYTES_BEFORE_HELLO,
  payloadBytes: FRAME_PAYLOAD_BYTES,
  messageBytes: MAX_MESSAGE_BYTES,
  depth: MAX_MESSAGE_DEPTH,
  nodes: MAX_MESSAGE_NODES,
  itemBytes: MAX_ITEM_BYTES,
  itemNodes: MAX_ITEM_NODES,
  controlMessageBytes: MAX_CONTROL_MESSAGE_BYTES,
  controlMessageNodes: MAX_CONTROL_MESSAGE_NODES,
  controlMessagesPerSecond: MAX_CONTROL_MESSAGES_PER_SECOND,
  openStreams: MAX_OPEN_STREAMS,
  unansweredOpens: MAX_UNANSWERED_OPENS,
  initialWindowBytes: INITIAL_WINDOW_BYTES,
  maxWindowBytes: MAX_WINDOW_BYTES,
  windowShareBytes: WINDOW_SHARE_BYTES,
  budgetBytes: SESSION_BUDGET_BYTES,
  maxStreamOffset: MAX_STREAM_OFFSET,
  signalBytes: MAX_SIGNAL_BYTES,
  signalsPerSecond: MAX_SIGNALS_PER_SECOND,
  closedGraceMs: CLOSED_STREAM_GRACE_MS,
  helloTimeoutMs: HELLO_TIMEOUT_MS,
  goawayDeadlineMs: GOAWAY_DEADLINE_MS,
  opensPerSecond: MAX_OPENS_PER_SECOND,
  resetsPerSecond: MAX_RESETS_PER_SECOND,
  controlFramesPerSecond: MAX_CONTROL_FRAMES_PER_SECOND,
  ackEveryBytes: ACK_EVERY_BYTES,
  minAckEveryBytes: MIN_ACK_EVERY_BYTES,
  maxAckEveryBytes: MAX_ACK_EVERY_BYTES,
  ackSilenceMs: SILENCE_MS,
  inflatedBytesPerSecond: MAX_INFLATED_BYTES_PER_SECOND,
  pendingPings: MAX_PENDING_PINGS,
  queuedControlFrames: MAX_QUEUED_CONTROL_FRAMES,
  queuedControlBytes: MAX_QUEUED_CONTROL_BYTES,
  queuedStreamBytes: MAX_QUEUED_STREAM_BYTES,
};
