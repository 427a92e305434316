/** All kinds that one call of Docker's API serves, each written down once for every way to a host. */
import { CONTAINER_CALLS } from './container-calls.ts';
import { IMAGE_CALLS } from './image-calls.ts';
import { NETWORK_CALLS } from './network-calls.ts';
import type { UnaryCall } from './unary-call.ts';
import { VOLUME_CALLS } from './volume-calls.ts';

export const UNARY_CALLS: readonly UnaryCall[] = [
  ...CONTAINER_CALLS,
  ...IMAGE_CALLS,
  ...NETWORK_CALLS,
  ...VOLUME_CALLS,
];
