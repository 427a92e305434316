/** What a server says of its own state: the answer of `GET /api/v1/diagnostics`, and a part of a support bundle. */
import Type, { type Static } from 'typebox';
import { Check, CheckLevel } from './check.ts';

export const Diagnostics = Type.Object({
  worst: CheckLevel,
  checks: Type.Array(Check),
  version: Type.String(),
  schemaVersion: Type.Integer({ description: "The store's" }),
  installationId: Type.String(),
  time: Type.String({ description: "The server's clock, RFC 3339" }),
  startedAt: Type.String({ description: 'RFC 3339' }),
  node: Type.String({ description: 'The version of Node.js' }),
  platform: Type.String({ description: 'linux x64' }),
  apiUrl: Type.String(),
  agentUrl: Type.String(),
  configuration: Type.Record(Type.String(), Type.Unknown(), {
    description: 'Without what is a secret, or leads to one: paths of files are only said to be given',
  }),
});
export type Diagnostics = Static<typeof Diagnostics>;
