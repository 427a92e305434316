#!/usr/bin/env node
// The entry point of `fairlead`.
require('./check-node.ts');
require('./run.ts').cli();
