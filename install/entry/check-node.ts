// Says in one sentence what is missing when an entry point is started on an old Node, which could load nothing else here.
// Like the entry points this is CommonJS and plain JavaScript: an old Node reads it as it is.

const nodeApi = Number(process.versions['napi']);
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);

// The sources need a Node that strips types and has argon2 (24.7), and better-sqlite3 needs Node-API 10: without it the
// process dies wordlessly.
if (major < 24 || (major === 24 && minor < 7) || nodeApi < 10) {
  process.stderr.write(
    `Fairlead needs Node.js 24.7 or newer with Node-API 10, and this is Node.js ${process.versions.node} with Node-API ${nodeApi}: ` +
      'run `npm ci` in the checkout, which brings the right Node.js, and then `npm start`, `npm run server -- …`, ' +
      '`npm run agent -- …` or `npm run cli -- …` instead of calling node yourself.\n',
  );
  process.exit(1);
}
