/** Bundles the three programs into `dist/`. */
import { buildBundles } from './bundles.ts';

await buildBundles();
