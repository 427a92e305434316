// Whether the server in this container is ready, by its own settings: exits with 0 if it is, else with 1 and says why.
import http from 'node:http';
import https from 'node:https';

const LIMIT_MS = 8_000;
const port = Number(/:(\d+)$/.exec(process.env['FAIRLEAD_API_LISTEN'] ?? ':8440')?.[1]);
const isPlain = process.env['FAIRLEAD_API_TLS'] === 'off';

// Nobody else is at the other end of this container's own loopback, and nothing is sent there that is secret.
const options = { host: '127.0.0.1', port, path: '/readyz', timeout: LIMIT_MS, rejectUnauthorized: false };
const request = (isPlain ? http : https).get(options, (response) => {
  response.resume();
  if (response.statusCode !== 200) end(`the server is not ready: it answers ${response.statusCode}`);
});
request.on('error', ({ message }) => end(`the server does not answer at port ${port}: ${message}`));
request.on('timeout', () => request.destroy(new Error(`no answer within ${LIMIT_MS} ms`)));

/** @param {string} why */
function end(why) {
  process.stderr.write(`${why}\n`);
  process.exitCode = 1;
}
