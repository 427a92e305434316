/** Certificates per second from an RSA-4096 CA, and what issuing does to the event loop. */
import { createPrivateKey, generateKeyPair, randomBytes, randomUUID, sign } from 'node:crypto';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { promisify } from 'node:util';
import { type Ca, createCa, openCa } from '../../../certs/authority.ts';
import { systemClock } from '../../../shared/clock.ts';
import type { Row } from '../table.ts';

const ISSUE_MS = 2_000;
/** Issued at once; libuv signs four at a time. */
const IN_FLIGHT = 16;

const makeKeyPair = promisify(generateKeyPair);
const signAsync = promisify(sign);

async function perSecond(work: () => Promise<unknown>): Promise<number> {
  let done = 0;
  const from = performance.now();
  const worker = async () => {
    while (performance.now() - from < ISSUE_MS) {
      await work();
      done++;
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, worker));
  return (done / (performance.now() - from)) * 1000;
}

async function issuing(ca: Ca, installationId: string, spki: Buffer) {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  const rate = await perSecond(() => ca.issueAgent({ spki, hostId: randomUUID(), installationId, clock: systemClock }));
  delay.disable();
  return { rate, delayMs: delay.percentile(99) / 1e6 };
}

export async function certificates(): Promise<Row[]> {
  const installationId = randomUUID();
  const material = await createCa({ installationId, clock: systemClock });
  const { publicKey } = await makeKeyPair('ec', { namedCurve: 'P-256' });
  const spki = publicKey.export({ type: 'spki', format: 'der' });
  const tbs = randomBytes(700);
  const key = createPrivateKey(material.keyPem);
  const bare = await perSecond(() => signAsync('sha256', tbs, key));
  const { rate, delayMs } = await issuing(openCa(material), installationId, spki);
  return [
    {
      figure: 'certificates issued, RSA-4096 CA',
      value: rate,
      unit: '/s',
      baseline: bare,
      against: 'bare signatures',
      target: '≥ 300/s',
      held: rate >= 300,
    },
    {
      figure: 'event loop delay while issuing, p99',
      value: delayMs,
      unit: 'ms',
      target: '< 50 ms',
      held: delayMs < 50,
    },
  ];
}
