/** The names that certificates carry, and how the identity of an agent or an operator is read from its certificate. */
import type { X509Certificate } from 'node:crypto';

/** The name every server leaf carries and every client verifies, whatever address it dials. */
export const INTERNAL_SERVER_NAME = 'server.fairlead.internal';

const UUID = '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}';
const UUID_ONLY = new RegExp(`^${UUID}$`);
const AGENT_URI = new RegExp(`^fairlead://(${UUID})/agent/(${UUID})$`);
const OPERATOR_URI = new RegExp(`^fairlead://(${UUID})/operator/(${UUID})$`);

/** Who an agent is: a host of one installation. */
export interface AgentIdentity {
  readonly installationId: string;
  readonly hostId: string;
}

/** Whom a certificate for the API was made for: a person or a program. */
export interface OperatorIdentity {
  readonly installationId: string;
  readonly operatorId: string;
}

/** Whether `text` is a UUID in lower case: the only thing a certificate names installations and hosts by. */
export function isUuid(text: string): boolean {
  return UUID_ONLY.test(text);
}

/** The URI by which an agent's certificate names it. Both ids are UUIDs in lower case. */
export function agentUri(installationId: string, hostId: string): string {
  return `fairlead://${installationId}/agent/${hostId}`;
}

/** The ids in an agent's URI, or undefined if `uri` is not one. */
export function parseAgentUri(uri: string): AgentIdentity | undefined {
  const match = AGENT_URI.exec(uri);
  const [, installationId, hostId] = match ?? [];
  return installationId !== undefined && hostId !== undefined ? { installationId, hostId } : undefined;
}

/**
 * The identity in an agent's certificate, or undefined if it is not an agent's. The certificate must name exactly one
 * URI and nothing else, and its CN must be the same host. Says nothing about trust: the chain is verified elsewhere.
 */
export function agentIdentity(certificate: X509Certificate): AgentIdentity | undefined {
  const names = certificate.subjectAltName;
  if (names === undefined || !names.startsWith('URI:')) return undefined;
  const identity = parseAgentUri(names.slice('URI:'.length));
  return identity !== undefined && certificate.subject === `CN=${identity.hostId}` ? identity : undefined;
}

/** The URI by which an operator's certificate names it. Both ids are UUIDs in lower case. */
export function operatorUri(installationId: string, operatorId: string): string {
  return `fairlead://${installationId}/operator/${operatorId}`;
}

/** The identity in an operator's certificate, or undefined if it is not an operator's; by the same rules as an agent's. */
export function operatorIdentity(certificate: X509Certificate): OperatorIdentity | undefined {
  const [, installationId, operatorId] =
    OPERATOR_URI.exec(certificate.subjectAltName?.replace(/^URI:/, '') ?? '') ?? [];
  if (installationId === undefined || operatorId === undefined) return undefined;
  return certificate.subject === `CN=${operatorId}` ? { installationId, operatorId } : undefined;
}
