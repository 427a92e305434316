/** One suite for links to hosts, over every protocol that their agents speak. */
import { edgeHost, nativeHost, standardHost } from '../support/host-links.ts';
import { linkConformance } from './link-suite.ts';

linkConformance("an agent of Fairlead's own", nativeHost);
linkConformance('an agent of Hawser in Edge mode', edgeHost);
linkConformance('an agent of Hawser in Standard mode', standardHost);
