/** What a Compose file may hold, what it may not, and that nothing in one keeps its reader busy. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { checkCompose, checkResolved } from '../../../../shared/compose/compose-file.ts';
import { FairleadError, isFairleadError } from '../../../../shared/errors.ts';
import { MAX_COMPOSE_CHARS } from '../../../../shared/messages/stack.ts';
import { cpuMs } from '../../../support/cpu-time.ts';

const DOLLAR = '$';

function refusal(text: string, check: (text: string) => unknown = checkCompose): string {
  try {
    check(text);
  } catch (error) {
    assert.ok(error instanceof FairleadError, String(error));
    return `${error.code}: ${error.message}`;
  }
  return assert.fail(`nothing is said against ${text.slice(0, 200)}`);
}

test('what is whole passes, with anchors, merges, absolute paths, named volumes and variables', () => {
  const text = `name: shop
x-base: &base {image: nginx, restart: always}
services:
  web:
    <<: *base
    volumes: ["data:/data", "/srv/www:/www:ro", "${DOLLAR}{DATA:-./a}:/b", {type: volume, source: data, target: /c}]
    configs: [site]
  db.1: {image: postgres, volumes: [/var/lib/postgresql]}
configs: {site: {content: "a"}}
secrets: {key: {environment: KEY}}
volumes: {data: {}}
`;
  assert.deepEqual(checkCompose(text), { services: ['web', 'db.1'] });
});

test('what is not, or needs what is not there, is refused with its line', () => {
  const web = (more: string) => `services:\n  web:\n    image: x\n    ${more}\n`;
  const cases: [text: string, why: RegExp][] = [
    ['', /it is empty/],
    ['hello', /line 1: it must be a mapping/],
    ['volumes: {}', /line 1: there are no services in it/],
    ['services: {}', /line 1: services: there are no services in it/],
    ['services: [a]', /services: it must be a mapping/],
    ['services:\n  web: nginx', /line 2: services\.web: it must be a mapping/],
    ['services:\n\tweb: {}', /line 2: Tabs are not allowed/],
    ['services:\n  a: {}\n  a: {}', /line 3: Map keys must be unique/],
    ['services: {a: {}}\n---\nb: 1', /line 2: a second document begins here/],
    ['services:\n  "../x": {}', /line 2: services\.\.\.\/x: a service is named by/],
    ['services:\n  "-x": {}', /a service is named by/],
    ['include: [a.yaml]\nservices: {a: {}}', /line 1: include: there are no files beside it/],
    ['services: {a: {}}\nmodels: {m: {model: x}}', /line 2: models: it would run programs/],
    [web('build: .'), /line 4: services\.web\.build/],
    [web('env_file: [.env]'), /line 4: services\.web\.env_file/],
    [web('provider: {type: model}'), /line 4: services\.web\.provider: it would run programs of the host/],
    [web('use_api_socket: true'), /services\.web\.use_api_socket/],
    [web('extends: {file: /etc/passwd, service: x}'), /line 4: services\.web\.extends\.file/],
    [web('volumes:\n      - a:/b\n      - ./c:/d'), /line 6: services\.web\.volumes\.1: it binds a path/],
    [web('volumes: ["../c:/d"]'), /line 4: services\.web\.volumes\.0/],
    [web('volumes: ["~/c:/d"]'), /services\.web\.volumes\.0/],
    [web('volumes: [{type: bind, source: c, target: /d}]'), /services\.web\.volumes\.0/],
    ['x: &x {build: .}\nservices:\n  a:\n    <<: *x', /services\.a\.build/],
    ['services: {a: {}}\nsecrets:\n  s:\n    file: /etc/shadow', /line 4: secrets\.s\.file: .* give environment/],
    ['services: {a: {}}\nconfigs: {c: {file: x}}', /configs\.c\.file: .* give content/],
  ];
  for (const [text, why] of cases) assert.match(refusal(text), why, text);
});

test('once variables are put in, what leads into the empty directory is refused', () => {
  const resolved = (source: string) =>
    JSON.stringify({ services: { web: { volumes: [{ type: 'bind', source, target: '/d' }] } } });
  const check = (text: string) => checkResolved(text, '/state/compose/empty');
  assert.deepEqual(check(resolved('/srv')), { services: ['web'] });
  assert.deepEqual(check(resolved('/state/compose/empty-no')), { services: ['web'] });
  for (const source of ['/state/compose/empty', '/state/compose/empty/data']) {
    assert.match(refusal(resolved(source), check), /once its variables are put in: services\.web\.volumes\.0/);
  }
  assert.match(refusal('services: {web: {volumes: [/state/compose/empty/a:/b:rw]}}', check), /volumes\.0/);
  assert.match(refusal('{', check), /is not JSON/);
});

test('what is made to keep its reader busy is refused soon', async () => {
  const much = MAX_COMPOSE_CHARS - 10;
  const bomb = ['a: &a [x,x,x,x,x,x,x,x,x]'];
  for (const [index, name] of [...'bcdefghij'].entries()) {
    bomb.push(`${name}: &${name} [${Array(9).fill(`*${'abcdefghij'[index]}`).join()}]`);
  }
  const hostile = [
    ...['[', '{', '- ', '? ', '!a ', '&a ', '\n', 'a: ', '"\\x'].map((piece) => piece.repeat(much / piece.length)),
    `a: ${'['.repeat(100)}${']'.repeat(100)}`,
    Array.from({ length: 400 }, (_, depth) => `${' '.repeat(depth)}a:`).join('\n'),
    bomb.join('\n'),
  ];
  for (const text of hostile) {
    const refused = () => assert.match(refusal(text), /^VALIDATION: the Compose file is not valid/, text.slice(0, 40));
    assert.ok((await cpuMs(refused)) < 5_000, `${text.slice(0, 40)} took too long`);
  }
  assert.match(refusal(`#${'x'.repeat(MAX_COMPOSE_CHARS)}`), /^PAYLOAD_TOO_LARGE: .* larger than 128 KiB/);
});

test('whatever is given, the answer is yes or a FairleadError', () => {
  const yaml = fc.array(
    fc.constantFrom(
      'services:',
      ' web',
      ': ',
      '\n',
      '  ',
      '- ',
      '{',
      '}',
      '[',
      ']',
      '&a',
      '*a',
      '"',
      '|',
      '<<',
      '!',
      '#',
      'image',
      '\t',
      '\u0000',
      '---',
      '%',
    ),
    { maxLength: 40 },
  );
  fc.assert(
    fc.property(
      fc.oneof(
        yaml.map((parts) => parts.join('')),
        fc.string(),
      ),
      (text) => {
        try {
          checkCompose(text);
        } catch (error) {
          assert.ok(isFairleadError(error, 'VALIDATION'), `${JSON.stringify(text)}: ${error}`);
        }
      },
    ),
    { numRuns: 300 },
  );
});
