/** The process of a link that shall not share an event loop with its ends; see `startLink`. */
import { LinkEmulator } from './link-emulator.ts';
import type { LinkAnswer, LinkCall } from './link-emulator-process.ts';

let link: LinkEmulator | undefined;

async function obey(call: LinkCall): Promise<number | undefined> {
  if (call.name === 'start') {
    link = await LinkEmulator.start(call.options);
    return link.port;
  }
  if (call.name === 'set') await link?.set(call.change);
  else await link?.[call.name]();
  return undefined;
}

async function answer(id: number, call: LinkCall): Promise<LinkAnswer> {
  try {
    return { id, port: await obey(call) };
  } catch (error) {
    return { id, error: String(error) };
  }
}

process.on('message', async ({ id, call }: { id: number; call: LinkCall }) => {
  process.send?.(await answer(id, call));
});
process.on('disconnect', () => process.exit(0));
