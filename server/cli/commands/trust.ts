/** `cert`: which certificates there are. */
import type { Command } from 'commander';
import { path } from '../api-client.ts';
import type { CertificateView } from '../api-types.ts';
import { act, type Cli } from '../commander.ts';
import { relative } from '../format.ts';
import { write } from '../io.ts';
import { printRows } from '../output.ts';

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
