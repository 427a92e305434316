/** The option by which a person, a program or a token gets its role. */
import { Option } from 'commander';

export function roleOption(): Option {
  return new Option('--role <role>', 'viewer reads, operator acts on containers, admin does all')
    .choices(['viewer', 'operator', 'admin'])
    .makeOptionMandatory();
}
