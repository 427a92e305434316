#!/usr/bin/env node
// The entry point of `fairlead-agent`.
require('./check-node.ts');
require('./run.ts').agent();
