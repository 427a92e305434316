/** The flags by which this host serves a Dockhand server, as an agent of Hawser would. */
import Type from 'typebox';

const optional = (description: string, metavar: string) => Type.Optional(Type.String({ description, metavar }));

export const hawserFlags = {
  hawserStandard: optional(
    "listens for a Dockhand server, as Hawser's Standard mode does; a PORT alone: on all addresses with TLS, or else on " +
      '127.0.0.1',
    '[host:]port',
  ),
  hawserTlsCert: optional('the certificate, with its chain, for --hawser-standard', 'pem'),
  hawserTlsKey: optional('the key of --hawser-tls-cert', 'pem'),
  hawserEdge: optional(
    "connects to a Dockhand server, as Hawser's Edge mode does: wss://HOST/api/hawser/connect",
    'url',
  ),
  hawserCaFile: optional('the CA of the server of --hawser-edge, in place of those that the system trusts', 'pem'),
  hawserTokenFile: optional(
    'a file with the token that Dockhand and this agent share; without it, the token is in FAIRLEAD_HAWSER_TOKEN',
    'file',
  ),
  hawserInsecurePlaintext: Type.Boolean({
    description:
      'lets the two above go without TLS beyond this machine: whoever listens in has the token, and with it the host',
    default: false,
  }),
};
