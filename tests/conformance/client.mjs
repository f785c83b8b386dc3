// Runs the suite's client against one base URL and prints one JSON document: a verdict per test, as the suite itself scores it.
// Arguments: the folder of http-cache-tests, the base URL, the address that its host name stands for.
import http from 'node:http'
import path from 'node:path'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const [, , suiteFolder, base, address] = process.argv
const load = file => import(pathToFileURL(path.join(suiteFolder, file)))

const { default: sharedCacheTests } = await load('tests/index.mjs')
const { default: surrogateControl } = await load('tests/surrogate-control.mjs')
const { runTests, getResults } = await load('client/runner.mjs')
const { determineTestResult } = await load('lib/display.mjs')
const fetch = createRequire(path.join(suiteFolder, 'cli.mjs'))('node-fetch')

// Names below .localhost do not resolve on every machine; only the connection goes to the address, Host stays the name.
const lookup = (name, options, done) =>
  options.all ? done(null, [{ address, family: 4 }]) : done(null, address, 4)
const agent = new http.Agent({ lookup })

const suites = [...sharedCacheTests, surrogateControl]
await runTests(suites, (url, options) => fetch(url, { ...options, agent }), false, base)

const results = getResults()
const passed = verdict => verdict[2] === '✅' || verdict[2] === 'Y'
const verdicts = []
for (const suite of suites) {
  for (const test of suite.tests) {
    if (test.browser_only === true) continue
    const result = results[test.id]
    verdicts.push({
      id: test.id,
      group: suite === surrogateControl ? 'surrogate-control' : 'shared-cache',
      kind: test.kind ?? 'required',
      passed: passed(determineTestResult(suites, test.id, results)),
      // A test that passes by itself can still fail by one of those that it depends on.
      message: result === true ? `depends on ${test.depends_on}` : (result ?? ['untested']).join(': ')
    })
  }
}
process.stdout.write(JSON.stringify(verdicts) + '\n', () => process.exit(0))
