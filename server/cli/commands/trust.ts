/** `ca` and `cert`: what the installation trusts. */
import type { Command } from 'commander';
import { path } from '../api-client.ts';
import type { CaView, CertificateView } from '../api-types.ts';
import { act, type Cli } from '../commander.ts';
import { relative } from '../format.ts';
import { write } from '../io.ts';
import { print, printRows } from '../output.ts';
import { facts } from '../table.ts';

export function addCa(root: Command, cli: Cli): void {
  const ca = root.command('ca').description('the certificate authority of this installation');
  act(ca.command('show').description('show the CA and its fingerprint'), cli, async ({ api, io, options }) => {
    const found = await api.get<CaView>('/api/v1/ca');
    await print(io, options, found, (value) =>
      facts([
        ['Fingerprint', value.fingerprint],
        ['Subject', value.subject],
        ['Not before', value.notBefore],
        ['Not after', value.notAfter],
      ]),
    );
  });
  act(ca.command('export').description("print the CA's certificate as PEM"), cli, async ({ api, io }) => {
    const body = await api.stream('/ca.pem', { accept: '*/*' });
    for await (const chunk of body as AsyncIterable<Buffer>) await write(io.stdout, chunk);
  });
}

export function addCert(root: Command, cli: Cli): void {
  const cert = root.command('cert').description('the certificates that agents hold');
  act(cert.command('ls').description('list certificates'), cli, async ({ api, io, options }) => {
    const rows = await api.list<CertificateView>('/api/v1/certificates');
    await printRows(io, options, rows, [
      ['SERIAL', (row) => row.serial],
      ['HOST', (row) => row.hostName ?? row.hostId ?? undefined],
      ['STATE', (row) => row.state],
      ['ISSUED', (row) => relative(row.issuedAt, io.now())],
      ['EXPIRES', (row) => relative(row.notAfter, io.now())],
      ['REASON', (row) => row.reason ?? undefined],
    ]);
  });
  const revoke = cert
    .command('revoke')
    .description('revoke one certificate and close the sessions it opened')
    .argument('<serial>')
    .option('--reason <text>', 'why, for the audit log and the host', 'revoked by an administrator');
  act<{ reason: string }, [string]>(revoke, cli, async ({ api, io, options }, serial) => {
    await api.post(path`/api/v1/certificates/${serial}/revoke`, { reason: options.reason });
    await write(io.stdout, `Revoked ${serial}.\n`);
  });
}
