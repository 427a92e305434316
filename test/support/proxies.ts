/** Real proxies in front of a server, by the very files of install/proxies with their placeholders filled in. */
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { type Launched, launchCommand, ROOT } from './launcher.ts';
import { type Cleanup, tempDir } from './tmp.ts';
import { waitFor } from './wait.ts';

/** What stands for `@NAME@` in a file. */
export type Values = Readonly<Record<string, string>>;

const STREAM_MODULE = '/usr/lib/nginx/modules/ngx_stream_module.so';

/** An address of this machine that is not of the loopback: whoever dials it comes from it as well. */
export function ownAddress(): string {
  const found = Object.values(networkInterfaces())
    .flat()
    .find((each) => each?.family === 'IPv4' && !each.internal);
  if (found === undefined) throw new Error('These tests need an IPv4 address beside 127.0.0.1: ip link set eth0 up');
  return found.address;
}

/** Ports that were free just now: another program is to listen there. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0));
  await Promise.all(servers.map((server) => once(server, 'listening')));
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => once(server.close(), 'close')));
  return ports;
}

/** A certificate for this machine, its own CA; `both` has it and its key. */
export interface ProxyCertificate {
  readonly cert: string;
  readonly key: string;
  readonly both: string;
  readonly pem: string;
}

/** Made anew by openssl. */
export async function proxyCertificate(cleanup: Cleanup, address: string): Promise<ProxyCertificate> {
  const dir = await tempDir(cleanup, 'proxy-certificate');
  const [cert, key, both] = [join(dir, 'cert.pem'), join(dir, 'key.pem'), join(dir, 'both.pem')];
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-noenc', '-days', '2', '-subj', '/CN=proxy'];
  const names = ['-addext', `subjectAltName=DNS:localhost,IP:127.0.0.1,IP:${address}`];
  const made = launchCommand(cleanup, 'openssl', ['req', '-x509', ...kind, ...names, '-out', cert, '-keyout', key]);
  const { code } = await made.exited;
  if (code !== 0) throw new Error(made.transcript());
  const pem = await readFile(cert, 'utf8');
  await writeFile(both, pem + (await readFile(key, 'utf8')), { mode: 0o600 });
  return { cert, key, both, pem };
}

/** The nginx of this machine, with what is at its TCP level, or in its http block. Listens when this returns. */
export async function startNginx(cleanup: Cleanup, level: 'stream' | 'http', values: Values): Promise<Launched> {
  const dir = await tempDir(cleanup, 'nginx');
  const file = await fill(dir, level === 'stream' ? 'nginx.conf' : 'nginx-http.conf', values);
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((of) => `${of}_temp_path ${dir}/${of};`);
  const http = `http {\n${temporary.join('\n')}\naccess_log off;\ninclude ${file};\n}`;
  const main = [
    `load_module ${STREAM_MODULE};`,
    ...['daemon off;', 'master_process off;', `pid ${dir}/pid;`, 'error_log stderr warn;'],
    'events { worker_connections 512; }',
    level === 'stream' ? `include ${file};` : http,
  ];
  await writeFile(join(dir, 'main.conf'), `${main.join('\n')}\n`);
  return await listening(launchCommand(cleanup, 'nginx', ['-e', 'stderr', '-c', join(dir, 'main.conf')]), values);
}

/** The HAProxy of this machine. Listens when this returns. */
export async function startHaproxy(cleanup: Cleanup, values: Values): Promise<Launched> {
  const dir = await tempDir(cleanup, 'haproxy');
  const file = await fill(dir, 'haproxy.cfg', values);
  await writeFile(join(dir, 'global.cfg'), 'global\n    maxconn 512\n    log stderr local0 warning\n');
  return await listening(launchCommand(cleanup, 'haproxy', ['-db', '-f', join(dir, 'global.cfg'), '-f', file]), values);
}

/** The Caddy of this machine. Listens when this returns. */
export async function startCaddy(cleanup: Cleanup, values: Values): Promise<Launched> {
  const dir = await tempDir(cleanup, 'caddy');
  const file = await fill(dir, 'Caddyfile', values);
  const options = '{\n\tadmin off\n\tauto_https disable_redirects\n\tskip_install_trust\n}\n';
  await writeFile(join(dir, 'main'), `${options}import ${file}\n`);
  const env = { HOME: dir, XDG_DATA_HOME: dir, XDG_CONFIG_HOME: dir };
  return await listening(
    launchCommand(cleanup, 'caddy', ['run', '--config', join(dir, 'main'), '--adapter', 'caddyfile'], { env }),
    values,
  );
}

/** A copy of a file of install/proxies. @throws Error if it has a placeholder that its head does not explain, or `values` lack */
async function fill(dir: string, name: string, values: Values): Promise<string> {
  const text = await readFile(join(ROOT, 'install/proxies', name), 'utf8');
  const body = text.split('\n').filter((line) => !line.startsWith('#'));
  const head = text.slice(0, text.indexOf(body[0] ?? ''));
  const filled = body.join('\n').replace(/@([A-Z_]+)@/g, (placeholder, key: string) => {
    const value = values[key];
    if (value === undefined || !head.includes(`${placeholder} `)) throw new Error(`${name}: what is ${placeholder}?`);
    return value;
  });
  await writeFile(join(dir, name), filled);
  return join(dir, name);
}

async function listening(proxy: Launched, values: Values): Promise<Launched> {
  const ports = Object.entries(values).filter(([key]) => /_LISTEN$|^SITE$/.test(key));
  for (const [, value] of ports) {
    const port = Number(/\d+$/.exec(value)?.[0]);
    await waitFor(`${proxy.name} at ${value}`, () => answers(port), {
      context: () => proxy.transcript(),
      failed: () => (proxy.exit === undefined ? undefined : 'it ended'),
    });
  }
  return proxy;
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    const end = (there: boolean) => {
      socket.destroy();
      resolve(there);
    };
    socket.once('connect', () => end(true)).once('error', () => end(false));
  });
}
