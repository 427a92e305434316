// The entry point of `fairlead-agent` as one executable, which has the right Node in itself.

// Loading a program makes V8's space for young objects grow, and it never shrinks again: what keeps it small comes first.
require('../../shared/young-heap.ts').keepYoungHeapSmall();
void import('../../agent/process.ts');
