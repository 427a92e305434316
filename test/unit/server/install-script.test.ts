/** The script that installs the agent, as it is served, and the line that fetches it. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { AgentFiles } from '../../../server/agent-files.ts';
import { InstallScript } from '../../../server/install-script.ts';
import { tempDir } from '../../support/tmp.ts';

const SUM = 'ab'.repeat(32);
const CA = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n';

async function scriptOf(
  t: TestContext,
  { sum = `${SUM}  fairlead-agent\n`, apiCa = CA as string | undefined, apiUrl = 'https://mesh.example.org:8440' } = {},
) {
  const dir = await tempDir(t);
  await mkdir(join(dir, 'linux/x64'), { recursive: true });
  await writeFile(join(dir, 'linux/x64/fairlead-agent'), '');
  await writeFile(join(dir, 'linux/x64/fairlead-agent.sha256'), sum);
  return new InstallScript({
    agentFiles: new AgentFiles([dir]),
    urls: () => ({ apiUrl }),
    apiCa: () => apiCa,
  });
}

/** What a shell makes of the settings. */
function settingsOf(text: string): string[] {
  const settings = /^# settings$[\s\S]*?^# end of settings$/m.exec(text)?.[0] ?? '';
  const print = `printf '%s|' "$SERVER" "$CA_PEM" "$SHA256_linux_x64" "$SHA256_linux_arm64"`;
  return execFileSync('sh', ['-c', `${settings}\n${print}`], { encoding: 'utf8' })
    .split('|')
    .slice(0, -1);
}

test('the script knows its server, the CA, and the sums of the executables that there are', async (t) => {
  const text = await (await scriptOf(t)).text();
  assert.match(text, /^#!\/bin\/sh\n/);
  assert.deepEqual(settingsOf(text), ['https://mesh.example.org:8440', CA.trim(), SUM, '']);
  const other = await (await scriptOf(t, { sum: '$(reboot)', apiCa: "it's" })).text();
  assert.deepEqual(settingsOf(other), ['https://mesh.example.org:8440', "it's", '', '']);
  const trusted = new InstallScript({
    agentFiles: new AgentFiles([]),
    urls: () => ({ apiUrl: 'https://mesh.example.org' }),
    apiCa: () => undefined,
  });
  assert.deepEqual(settingsOf(await trusted.text()), ['https://mesh.example.org', '', '', '']);
});

test('the line holds the sum of the script, and hands over the token by stdin', async (t) => {
  const script = await scriptOf(t);
  const line = await script.command('fle1.secret');
  const sum = createHash('sha256')
    .update(await script.text())
    .digest('hex');
  assert.ok(line.includes(`echo "${sum}  $f" | sha256sum -c -`));
  assert.match(line, /echo fle1\.secret \| \$\(command -v sudo\) sh "\$f" --token -\)$/);
  assert.ok(!line.includes('\n'));
  for (const shell of ['sh', 'bash']) assert.equal(spawnSync(shell, ['-n', '-c', line]).status, 0, shell);
});

test('the line can be pasted into shells that take an address of IPv6 for a pattern of files', async (t) => {
  const script = await scriptOf(t, { apiUrl: 'https://[2001:db8::1]:8440' });
  // As zsh does by itself.
  const paste = (line: string) =>
    spawnSync('bash', ['-O', 'failglob', '-c', `curl() { echo "curl $4"; return 1; }\n${line}`], { encoding: 'utf8' });
  const { stdout, stderr } = paste(await script.command('fle1.secret'));
  assert.equal(stdout, 'curl https://[2001:db8::1]:8440/install.sh\n', stderr);
  assert.match(stderr, /^not fetched: .*https:\/\/\[2001:db8::1\]:8440\/install\.sh\n$/);
});

test('a script that no server has filled in says where to get one, and misuse is told', async () => {
  const run = (...args: string[]) => spawnSync('sh', ['install/install.sh', ...args], { encoding: 'utf8' });
  assert.match(run('--help').stdout, /--uninstall +take this host out of the mesh/);
  for (const [args, why] of [
    [['--token', 'fle1.secret'], /--token takes only "-"/],
    [['--nonsense'], /no option --nonsense/],
    [['--name'], /--name needs a value/],
    [['--tag', 'a b'], /--tag is empty or has characters/],
  ] as const) {
    const { status, stderr } = run(...args);
    assert.deepEqual([status, why.test(stderr)], [2, true], stderr);
    assert.ok(!stderr.includes('fle1.secret'));
  }
});
