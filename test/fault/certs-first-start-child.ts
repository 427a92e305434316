/** A first start that is killed at a given moment: run by certs-first-start.test.ts with a directory and the moment. */
import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pino } from 'pino';
import { Authority } from '../../server/authority/authority.ts';
import type { Settings } from '../../server/authority/ports.ts';
import { systemClock } from '../../shared/clock.ts';

/** A store in one file, which is there whole or not at all, as a transaction is. */
export function fileSettings(dir: string, at: (moment: string) => void = () => undefined): Settings {
  const file = join(dir, 'settings.json');
  const read = async (): Promise<Record<string, string>> =>
    JSON.parse(await readFile(file, 'utf8').catch(() => '{}')) as Record<string, string>;
  const get = async (key: string) => {
    const value = (await read())[key];
    return value === undefined ? undefined : Buffer.from(value, 'base64');
  };
  return {
    get,
    async setOnce(key, value) {
      at('before the store');
      const values = { [key]: Buffer.from(value).toString('base64'), ...(await read()) };
      await writeFile(`${file}.tmp`, JSON.stringify(values));
      at('within the store');
      await rename(`${file}.tmp`, file);
      at('after the store');
      return Buffer.from(values[key] ?? '', 'base64');
    },
  };
}

async function start(dir: string, moment: string): Promise<void> {
  const authority = await Authority.open({
    settings: fileSettings(dir, (reached) => reached === moment && process.kill(process.pid, 'SIGKILL')),
    certificates: { active: async () => [] },
    dataDir: dir,
    publicHosts: ['localhost'],
    clock: systemClock,
    log: pino({ level: 'silent' }),
    caKeyBits: 2048,
  });
  authority.close();
}

if (import.meta.main) await start(process.argv[2] ?? '', process.argv[3] ?? '');
