/** Images of clean machines, made of Debian's packages without their scripts: what an installer meets, and nothing else. */
import { execFile, spawn } from 'node:child_process';
import { chmod, copyFile, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { dockerApi, dockerBytes, requireDocker, TEST_LABEL } from './docker.ts';

/** Debian with systemd, OpenRC, curl and wget, of which nothing runs unless a container is started with it. */
export const DEBIAN_IMAGE = 'fairlead-test/debian:latest';
/** BusyBox with curl and with Debian's commands for users: Debian's BusyBox has none of its own. */
export const BUSYBOX_IMAGE = 'fairlead-test/busybox-host:latest';
const ROOTS_VERSION = '1';

const PACKAGES = [
  ...['base-files', 'base-passwd', 'busybox-static', 'coreutils', 'curl', 'dash', 'findutils', 'grep', 'gzip', 'login'],
  ...['libatomic1', 'libstdc++6', 'mawk', 'openrc', 'passwd', 'procps', 'sed', 'systemd', 'util-linux', 'wget'],
];
/** What only the scripts of packages need. */
const UNUSED = /^(perl|libperl|libfile-find|libnumber|libtext-glob|usrmerge|debconf)/;
const NOT_COPIED = ['doc', 'man', 'locale', 'perl', 'zoneinfo'].map((name) => `--exclude=./usr/share/${name}`);
/** What a package has for a root that is BusyBox's: libraries, curl, and the commands that make users. */
const FOR_BUSYBOX = /^(lib|gcc-|zlib|base-passwd|busybox-static|curl|passwd)/;

const DOWNLOAD_MS = 300_000;
const run = promisify(execFile);

/** Makes sure that Docker has both images. Needs apt-get and its sources where it has not. */
export async function requireRoots(): Promise<void> {
  await requireDocker();
  const lacking = [];
  for (const image of [DEBIAN_IMAGE, BUSYBOX_IMAGE]) if (!(await isThere(image))) lacking.push(image);
  if (lacking.length === 0) return;
  const dir = await mkdtemp(join(tmpdir(), 'fairlead-roots-'));
  try {
    await chmod(dir, 0o755);
    const packages = await download(join(dir, 'apt'));
    await importRoot(DEBIAN_IMAGE, await debianRoot(join(dir, 'debian'), packages));
    await importRoot(BUSYBOX_IMAGE, await busyboxRoot(join(dir, 'busybox'), packages));
  } finally {
    await rm(dir, { recursive: true, force: true, maxRetries: 5 });
  }
}

async function isThere(image: string): Promise<boolean> {
  const { status, body } = await dockerApi('GET', `/images/${image}/json`);
  return status === 200 && body.Config?.Labels?.[TEST_LABEL] === ROOTS_VERSION;
}

/** The packages and all that they need, by the machine's own sources, as if nothing were installed. @returns their files */
async function download(dir: string): Promise<string[]> {
  const archives = join(dir, 'cache/archives');
  await mkdir(join(dir, 'lists/partial'), { recursive: true });
  await mkdir(join(archives, 'partial'), { recursive: true });
  await writeFile(join(dir, 'status'), '');
  const settings = {
    'Dir::State': dir,
    'Dir::State::lists': join(dir, 'lists'),
    'Dir::State::status': join(dir, 'status'),
    'Dir::Cache': join(dir, 'cache'),
    'APT::Sandbox::User': '',
  };
  const options = ['-qq', ...Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`])];
  const get = (...args: string[]) => run('apt-get', [...options, ...args], { timeout: DOWNLOAD_MS });
  await get('update');
  await get('install', '--yes', '--no-install-recommends', '--download-only', ...PACKAGES);
  const files = (await readdir(archives)).filter((name) => name.endsWith('.deb') && !UNUSED.test(name));
  return files.map((name) => join(archives, name));
}

async function debianRoot(root: string, packages: readonly string[]): Promise<string> {
  await unpack(root, packages);
  await symlink('mawk', join(root, 'usr/bin/awk'));
  // As the script of libpam-runtime makes them where there are no other modules.
  for (const type of ['auth', 'account', 'password', 'session']) {
    await writeFile(join(root, 'etc/pam.d', `common-${type}`), `${type} required pam_unix.so\n`);
  }
  // OpenRC reads the first; with the second systemd takes the machine for one that has started before.
  for (const file of ['fstab', 'machine-id']) await writeFile(join(root, 'etc', file), '');
  await writeFile(join(root, 'etc/nsswitch.conf'), 'passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n');
  return root;
}

async function busyboxRoot(root: string, packages: readonly string[]): Promise<string> {
  const chosen = packages.filter((path) => FOR_BUSYBOX.test(path.slice(path.lastIndexOf('/') + 1)));
  await unpack(root, chosen);
  const bin = join(root, 'usr/bin');
  const { stdout } = await run(join(bin, 'busybox'), ['--list']);
  const taken = new Set(await readdir(bin));
  for (const applet of stdout.split('\n').filter((name) => name !== '' && !taken.has(name))) {
    await symlink('busybox', join(bin, applet));
  }
  return root;
}

/** What the packages have, in a root whose folders for programs and libraries are in /usr, with base-passwd's users. */
async function unpack(root: string, packages: readonly string[]): Promise<void> {
  for (const name of ['bin', 'sbin', 'lib', 'lib64']) {
    await mkdir(join(root, 'usr', name), { recursive: true });
    await symlink(`usr/${name}`, join(root, name));
  }
  const extract = `dpkg-deb --fsys-tarfile "$0" | tar -x --keep-directory-symlink -C "$@"`;
  for (const folder of ['root', 'tmp', 'run', 'proc', 'sys', 'dev', 'var/log', 'usr/local/bin']) {
    await mkdir(join(root, folder), { recursive: true });
  }
  await symlink('../run', join(root, 'var/run'));
  for (const path of packages) await run('sh', ['-c', extract, path, root, ...NOT_COPIED]);
  for (const file of ['passwd', 'group']) {
    await copyFile(join(root, `usr/share/base-passwd/${file}.master`), join(root, 'etc', file));
  }
  await chmod(join(root, 'tmp'), 0o1777);
  const users = (await readFile(join(root, 'etc/passwd'), 'utf8')).matchAll(/^[^:]+/gm);
  await writeFile(join(root, 'etc/shadow'), [...users].map(([name]) => `${name}:*:19000:0:99999:7:::\n`).join(''));
}

async function importRoot(image: string, root: string): Promise<void> {
  const tar = spawn('tar', ['-C', root, '--owner=0', '--group=0', '-c', '.'], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [repo, tag] = image.split(':');
  const changes = new URLSearchParams([
    ['changes', `LABEL ${TEST_LABEL}=${ROOTS_VERSION}`],
    ['changes', 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin'],
  ]);
  const { status, body } = await dockerBytes(
    'POST',
    `/images/create?fromSrc=-&repo=${repo}&tag=${tag}&${changes}`,
    tar.stdout,
  );
  if (status !== 200 || body.includes('"error"')) throw new Error(`docker import failed: ${body}`);
}
