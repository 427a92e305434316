/** The suites for links to hosts, over every protocol that their agents speak. */
import { edgeHost, nativeHost, standardHost } from '../support/host-links.ts';
import { linkEndsConformance } from './link-ends-suite.ts';
import { linkConformance } from './link-suite.ts';

for (const conformance of [linkConformance, linkEndsConformance]) {
  conformance("an agent of Fairlead's own", nativeHost);
  conformance('an agent of Hawser in Edge mode', edgeHost);
  conformance('an agent of Hawser in Standard mode', standardHost);
}
