/** `install.sh server` on clean machines: installed, upgraded, put back, removed; and what keeps it from beginning. */
import assert from 'node:assert/strict';
import { chmod, open, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { before, type TestContext, test } from 'node:test';
import { VERSION } from '../../shared/version.ts';
import { assertUnchanged, contentOf, type Machine, type MachineKind, startMachine } from '../support/machines.ts';
import { startServer } from '../support/mesh.ts';
import { requireRoots } from '../support/roots.ts';
import { sumUp, unpackedSite } from '../support/site-archive.ts';
import { fileCleanup, tempDir } from '../support/tmp.ts';

const shared = fileCleanup();
const LIB = '/usr/local/lib/fairlead-server';
const DATA = '/var/lib/fairlead-server';
/** Free ports, on this machine only: each start takes others. */
const LISTEN = '--api-listen 127.0.0.1:0 --agent-listen 127.0.0.1:0';
/** As long as a server may take that does not start at all. */
const NEVER_READY = '--wait 2';
/** What a newer version would do to the store before it fails. */
const MIGRATE =
  `"$bin/node" -e 'const { DatabaseSync } = require("node:sqlite"); ` +
  `new DatabaseSync(process.env.FAIRLEAD_DATA_DIR + "/fairlead.db").exec("insert or ignore into schema_version values (900)")'; exit 1`;

/** Archives by the names of their folders, which machines have in /sites. */
let sites: string;
/** What a server keeps that was stopped: making a CA takes seconds. */
let data: string;

before(async () => {
  sites = await tempDir(shared, 'sites');
  // Not only root finds the installer there.
  await chmod(sites, 0o755);
  const [server] = await Promise.all([
    startServer(shared),
    requireRoots(),
    unpackedSite(join(sites, 'this')),
    unpackedSite(join(sites, 'newer'), { version: '8.0.0' }),
    unpackedSite(join(sites, 'broken'), { version: '8.1.0', instead: 'echo it breaks >&2; exit 1' }),
    unpackedSite(join(sites, 'migrating'), { version: '8.2.0', instead: MIGRATE }),
  ]);
  await server.process.stop();
  data = server.dataDir;
});

interface Site {
  readonly machine: Machine;
  /** Runs the installer of an archive. */
  install(archive: string, args?: string): Promise<{ code: number; out: string }>;
  /** The same, which must succeed. */
  done(archive: string, args?: string): Promise<string>;
}

async function siteMachine(t: TestContext, kind: MachineKind): Promise<Site> {
  const machine = await startMachine(t, kind, { binds: [`${sites}:/sites:ro`, `${data}:/data:ro`] });
  const install = (archive: string, args = '') => machine.sh(`sh /sites/${archive}/install.sh server ${args}`);
  const done = async (archive: string, args?: string) => {
    const { code, out } = await install(archive, args);
    assert.equal(code, 0, `${kind}: ${out}`);
    return out;
  };
  return { machine, install, done };
}

async function running({ machine }: Site): Promise<string> {
  const { out } = await machine.sh(`cat ${DATA}/runtime.json`);
  const { pid, version } = JSON.parse(out) as { pid: number; version: string };
  const { out: owner } = await machine.sh(`stat -c %U /proc/${pid}; readlink /proc/${pid}/exe`);
  assert.match(owner, new RegExp(`^fairlead-server\n${LIB}/[^/]+/server/bin/node\n$`));
  return version;
}

/** A first installation, which is what it should be. @returns what it says */
async function installFresh(site: Site): Promise<string> {
  const { machine, done } = site;
  const out = await done('this', LISTEN);
  assert.match(out, /^ {2}CA fingerprint: sha256:[0-9a-f]{64}$/m);
  assert.equal(await running(site), VERSION);
  const modes = `stat -c '%a %U' ${DATA} ${DATA}/master.key /etc/default/fairlead-server ${LIB}/${VERSION}; readlink ${LIB}/current`;
  const owned = '700 fairlead-server\n600 fairlead-server\n640 root\n755 root\n';
  assert.equal((await machine.sh(modes)).out, `${owned}${VERSION}\n`);
  return out;
}

async function useAsTold({ machine }: Site, out: string): Promise<void> {
  const [, command] = /^ {2}(fairlead --server https:\/\/127\.0\.0\.1:\d+ .* token create)$/m.exec(out) ?? [];
  const token = await machine.sh(command ?? 'false');
  assert.match(token.out, /^Token: +fle1\./, out);
}

async function runAgain(site: Site): Promise<void> {
  const { machine, done } = site;
  const runtime = await machine.sh(`cat ${DATA}/runtime.json`);
  await machine.sh("echo 'FAIRLEAD_MAX_EVENTS=5000' >>/etc/default/fairlead-server");
  await done('this');
  assert.deepEqual(await machine.sh(`cat ${DATA}/runtime.json`), runtime);
  const settings = await machine.sh('cat /etc/default/fairlead-server');
  assert.match(settings.out, /^FAIRLEAD_API_LISTEN=127\.0\.0\.1:0\n[\s\S]*^FAIRLEAD_MAX_EVENTS=5000$/m);
}

/** What root has put among the server's files becomes the server's, but for what is also elsewhere, and not while it runs. */
async function bring(site: Site): Promise<void> {
  const { machine, install, done } = site;
  // As who would have the server's user own the file of passwords, where the system lets users make such links.
  await machine.sh(`cp /etc/shadow /etc/shadow.other && ln /etc/shadow.other ${DATA}/linked`);
  const refused = await install('this');
  assert.equal(refused.code, 1, refused.out);
  assert.match(refused.out, new RegExp(`${DATA}/linked is not the file of fairlead-server alone`));
  assert.equal((await machine.sh('stat -c %U /etc/shadow.other')).out, 'root\n');
  assert.equal(await running(site), VERSION);
  const chown = `case "$*" in *${DATA}*) ${LIB}/keep-running status && touch /run/living ;; esac; exec /usr/bin/chown "$@"`;
  await machine.sh(
    `rm /etc/shadow.other ${DATA}/linked; touch ${DATA}/brought; mkdir -p ${DATA}/folder/inner; ln -s /etc/passwd ${DATA}/folder/link; ` +
      `printf '#!/bin/sh\n%s\n' '${chown}' >/usr/local/bin/chown; chmod 755 /usr/local/bin/chown`,
  );
  await done('this');
  const owners = await machine.sh(
    `cd ${DATA}; stat -c %U brought folder folder/inner folder/link /etc/passwd; ls /run/living; rm -r /usr/local/bin/chown brought folder`,
  );
  const server = 'fairlead-server\n'.repeat(4);
  assert.match(owners.out, new RegExp(`^${server}root\nls: cannot access '/run/living'`));
  assert.equal(await running(site), VERSION);
}

async function fallBack(site: Site): Promise<void> {
  const broken = await site.install('broken', `--upgrade ${NEVER_READY}`);
  assert.equal(broken.code, 1);
  assert.match(broken.out, new RegExp(`version 8\\.1\\.0 did not get ready within 2 s: version ${VERSION} runs again`));
  assert.match(broken.out, /last words of 8\.1\.0: [\s\S]*it breaks/);
  assert.equal(await running(site), VERSION);
}

async function upgrade(site: Site): Promise<void> {
  const { machine, done, install } = site;
  await done('newer', '--upgrade');
  assert.equal(await running(site), '8.0.0');
  const migrated = await install('migrating', `--upgrade ${NEVER_READY}`);
  assert.equal(migrated.code, 1);
  assert.match(
    migrated.out,
    /version 8\.2\.0 did not get ready within 2 s, and is stopped\. It has brought the store from schema/,
  );
  assert.match(
    migrated.out,
    /version \d+ to 900, which version 8\.0\.0 does not read[\s\S]*fairlead\.db\.before-8\.2\.0/,
  );
  assert.notEqual((await machine.sh(`${LIB}/keep-running status`)).code, 0);
  // Both of the last two: it may be needed, and so may be what runs now.
  assert.match((await machine.sh(`ls ${LIB}`)).out, /^8\.0\.0\n8\.2\.0\n/m);
}

async function remove({ machine, done }: Site, before: readonly string[]): Promise<void> {
  assert.match(await done('this', '--uninstall'), new RegExp(`its data is in ${DATA}`));
  const { out } = await machine.sh(`ls -A ${DATA} /usr/local/bin ${LIB}`);
  assert.match(out, /^fairlead\.db$/m);
  assert.match(out, /cannot access '\/usr\/local\/lib\/fairlead-server'/);
  await done('this', '--uninstall --purge');
  await assertUnchanged(machine, before);
}

test('with systemd: installed, run again, and put back by itself', async (t) => {
  const site = await siteMachine(t, 'systemd');
  await useAsTold(site, await installFresh(site));
  const { out } = await site.machine.sh(
    'systemctl show -p ActiveState,NRestarts fairlead-server; systemctl is-enabled fairlead-server',
  );
  assert.equal(out, 'NRestarts=0\nActiveState=active\nenabled\n');
  await runAgain(site);
  await fallBack(site);
});

test('with OpenRC: installed over data that root has brought, and removed', async (t) => {
  const site = await siteMachine(t, 'openrc');
  const before = await contentOf(site.machine);
  await site.machine.sh(`cp -R /data ${DATA}`);
  await installFresh(site);
  const { out } = await site.machine.sh('rc-service fairlead-server status; rc-update show default');
  assert.match(out, /started[\s\S]*fairlead-server/);
  await remove(site, before);
});

test('without a service manager: installed, upgraded, stopped for a store that went forward, and removed', async (t) => {
  const site = await siteMachine(t, 'none');
  const before = await contentOf(site.machine);
  await site.machine.sh(`cp -R /data ${DATA}`);
  await installFresh(site);
  await bring(site);
  await upgrade(site);
  await remove(site, before);
});

test('nothing begins that cannot end well, and why is said', async (t) => {
  const site = await siteMachine(t, 'none');
  const { machine, install } = site;
  const before = await contentOf(machine);
  const refused = async (archive: string, args: string, why: RegExp, prepare = ':', user = 'root') => {
    const { code, out } = await machine.sh(`${prepare}; sh /sites/${archive}/install.sh server ${args}`, user);
    assert.notEqual(code, 0, out);
    assert.match(out, why);
  };
  await refused('this', LISTEN, /this needs root: put sudo before sh/, ':', 'nobody');
  await refused('this', '--init systemd', /systemd does not run here/);
  await refused('this', '--upgrade', /no server is installed/);
  await refused('this', '--data-dir /etc', /\/etc has files in it, and none of a server/);
  await refused('this', '--api-listen 127.0.0.1:80', /port 80 is for root alone/);
  const taken = createServer().listen(0, '127.0.0.1');
  t.after(() => taken.close());
  await new Promise((resolve) => taken.once('listening', resolve));
  const { port } = taken.address() as { port: number };
  const used = new RegExp(`127\\.0\\.0\\.1:${port} is in use by another program: choose another --agent-listen`);
  await refused('this', `--api-listen 127.0.0.1:0 --agent-listen 127.0.0.1:${port}`, used);
  const small = "printf '#!/bin/sh\\necho - - - 2048 -\\n' >/usr/local/bin/df; chmod 755 /usr/local/bin/df";
  await refused('this', LISTEN, /too little space in .*: 2 MiB are free/, small);
  await machine.sh('rm /usr/local/bin/df');

  const bad = join(sites, 'bad');
  t.after(() => rm(bad, { recursive: true, force: true }));
  await unpackedSite(bad, { instead: 'touch /run/ran' });
  await writeFile(join(bad, 'server/lib/dist/server.mjs'), 'console.log("other")');
  await refused('bad', LISTEN, /the archive is damaged, and nothing of it was run: .*server\.mjs/);
  await sumUp(bad);
  const sums = await readFile(join(bad, 'SHA256SUMS'), 'utf8');
  await writeFile(join(bad, 'SHA256SUMS'), sums.replace(/^.* {2}server\/lib\/dist\/server\.mjs\n/m, ''));
  await refused('bad', LISTEN, /files that SHA256SUMS does not vouch for.*server\/lib\/dist\/server\.mjs/);
  const node = await open(join(bad, 'server/bin/node'), 'r+');
  // The machine that an ELF file is for: AArch64.
  await node.write(Buffer.from([0xb7]), 0, 1, 18);
  await node.close();
  await sumUp(bad);
  await refused('bad', LISTEN, /this archive is for arm64, and this machine is x64/);

  const dry = await site.done('this', `--dry-run ${LISTEN}`);
  assert.match(
    dry,
    new RegExp(`would install version ${VERSION.replaceAll('.', '\\.')}[\\s\\S]*would start the server by none`),
  );
  assert.equal((await machine.sh('test -e /run/ran')).code, 1);
  await assertUnchanged(machine, before);
  const served = await machine.sh('sh /sites/this/server/lib/install/install.sh server --dry-run');
  assert.match(served.out, /there is no SHA256SUMS beside this script/);
  const { out } = await install('this', '--purge');
  assert.match(out, /--purge goes with --uninstall/);
});
