/** The flags of fairlead-server, as one schema. */
import Type, { type Static } from 'typebox';
import { durationFlag } from '../shared/duration.ts';
import { choice, type FlagOptions, LogLevel } from '../shared/flags.ts';
import { METRICS_FLAGS } from './metrics-flags.ts';
import { STREAM_MEMORY_MIB } from './stream-memory.ts';

const text = (options: FlagOptions & { default: string }) => Type.String({ minLength: 1, ...options });
const file = (description: string) =>
  Type.Optional(Type.String({ minLength: 1, description, metavar: 'file', expects: 'the path of a file' }));
const flag = (description: string) => Type.Boolean({ description, default: false });
const publicPort = (what: string) =>
  Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: 65_535,
      description: `${what} in URLs, where a proxy in front has another one (by default: the one that is listened on)`,
      metavar: 'port',
      expects: 'a port from 1 to 65535',
    }),
  );

export const ServerFlags = Type.Object({
  dataDir: text({ description: 'where the server keeps everything', metavar: 'dir', default: './data' }),
  apiListen: text({
    description: 'where the API listens; port 0 takes a free one',
    metavar: 'host:port',
    default: '0.0.0.0:8440',
  }),
  agentListen: text({
    description: 'where agents connect; port 0 takes a free one',
    metavar: 'host:port',
    default: '0.0.0.0:8443',
  }),
  publicHost: Type.Array(Type.String(), {
    description:
      'names and addresses under which the server is reached, the first one for URLs (by default: what it finds out)',
    metavar: 'name[,name...]',
    default: [],
  }),
  publicApiPort: publicPort('the port of the API'),
  publicAgentPort: publicPort('the port for agents'),
  caPassphraseFile: file("a file with the passphrase that the CA's key rests under"),
  changeCaPassphraseFile: file(
    "a file with a new passphrase: puts the CA's keys under it, says so and exits; what opens them now is given as ever",
  ),
  changeCaToMasterKey: flag("the same, but puts the CA's keys under a new <data-dir>/master.key"),
  caRequestFile: file(
    'asks for another intermediate below an offline root while no server runs, as when the old one has expired: writes the request here and exits',
  ),
  caImportFile: file('takes in what `fairlead ca sign` made of that request, and exits'),
  apiTls: choice(['internal', 'off', 'files'], {
    description: 'the certificate of the API: one of our CA, none (behind a TLS proxy only), or your own',
    default: 'internal',
  }),
  apiCert: file('the certificate chain of the API in PEM, with --api-tls files; a changed one is put in place'),
  apiKey: file('its private key in PEM'),
  trustProxy: flag('takes client addresses from the X-Forwarded-For of one proxy in front'),
  trustProxyFrom: Type.Array(Type.String(), {
    description: 'addresses and networks of that proxy, with --trust-proxy (by default: whoever connects)',
    metavar: 'from[,from...]',
    default: [],
  }),
  proxyProtocol: Type.Array(Type.String(), {
    description:
      'addresses and networks of TCP balancers, whose connections to both ports must begin with a PROXY header (v1 or v2)',
    metavar: 'from[,from...]',
    default: [],
  }),
  streamMemory: Type.Optional(
    Type.Integer({
      ...STREAM_MEMORY_MIB,
      description:
        'MiB that the streams of all agents may take together; beyond, new ones are refused (by default: a quarter of the memory, 128 to 1024)',
      metavar: 'mib',
      expects: `a whole number of MiB from ${STREAM_MEMORY_MIB.minimum} to ${STREAM_MEMORY_MIB.maximum}`,
    }),
  ),
  auditRetention: text({
    description: 'how long rows of the audit log are kept, as 90d or 2y; never: for ever',
    metavar: 'time',
    default: '400d',
  }),
  auditFile: file('a file that every row of the audit log is appended to, as NDJSON'),
  auditWebhook: Type.Optional(
    Type.String({ minLength: 1, description: 'a URL that every row of the audit log is posted to', metavar: 'url' }),
  ),
  auditWebhookSecretFile: file('a file with the secret that signs what is posted (HMAC-SHA256)'),
  auditWebhookCaFile: file("the CA of the URL's certificate in PEM (by default: those of the system)"),
  eventRetention: text({
    description: 'how long events are kept, as 30d or 1y; never: for ever',
    metavar: 'time',
    default: '30d',
  }),
  maxEvents: Type.Integer({
    minimum: 1_000,
    maximum: 1_000_000_000,
    description: 'how many events are kept; beyond, the oldest go sooner',
    metavar: 'count',
    default: 1_000_000,
    expects: 'a whole number from 1000 up',
  }),
  webhookLinkLocal: flag('lets webhooks go to link-local addresses, and to those at which clouds hand out credentials'),
  agentCertLife: durationFlag({
    description: "how long agents' certificates live, from 10s to 90d; they are renewed in time",
    default: '30d',
  }),
  recoverWithin: durationFlag({
    description: 'how long ago a certificate may have expired for its host to get a new one unasked; 0: ask always',
    default: '0',
  }),
  ...METRICS_FLAGS,
  hawser: choice(['on', 'off'], {
    description: 'whether agents of Hawser may connect to the API, each by a token that was made for it',
    default: 'on',
  }),
  hawserRequestTimeout: durationFlag({
    description:
      'how long hosts of Hawser may take for an answer that is not streamed, from 1s to 5m; their agents give up after 30s',
    default: '30s',
  }),
  agentFiles: Type.Optional(
    Type.String({
      minLength: 1,
      description:
        'a folder with executables of the agent, as npm run build:agent writes them (by default: <data-dir>/agent-files, and where that has none, those that were built here)',
      metavar: 'dir',
    }),
  ),
  releaseKey: Type.Array(Type.String(), {
    description:
      'a file with a public key for releases, as fairlead release keygen makes them: only releases signed by one of these keys are taken in (by default: any, since each agent checks them by keys of its own)',
    metavar: 'file',
    default: [],
  }),
  logLevel: LogLevel,
  resetAdminToken: flag('makes a new admin token in <data-dir>/admin-token and revokes the one that was made before'),
});
export type ServerFlags = Static<typeof ServerFlags>;
