#!/usr/bin/env node
// The entry point of `fairlead-server`.
require('./check-node.ts');
require('./run.ts').server();
