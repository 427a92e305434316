// The entry point of `npm start`.
require('./check-node.ts');
require('./run.ts').start();
