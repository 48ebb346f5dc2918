import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { ensurePgBouncer } from "../src/testing/pgbouncer.ts";
import { ensureChromium } from "./chromium.ts";

/**
 * `npm test`: everything that must hold before a change lands. Each step runs even when an earlier one
 * failed, and the last line counts tests and checks.
 */
const root = path.join(path.dirname(fileURLToPath(import.meta.url)), "..");
const reports = mkdtempSync(path.join(tmpdir(), "quota-reports-"));
const vitestReport = path.join(reports, "vitest.json");
const playwrightReport = path.join(reports, "playwright.json");
const tally = { passed: 0, failed: 0 };
const failures: string[] = [];
const MOST_NAMED = 30;

process.env.NEXT_TELEMETRY_DISABLED = "1";
process.env.CI ??= "true";

await check("Prisma client", () => node("prisma/generate.ts"));
await check("lint and format", () => bin("@biomejs/biome/bin/biome", "check", "."));
await check("import directions", () => node("lint/imports.ts"));
await check("words of docs/style.md", () => node("lint/prose.ts"));
await check("types", () => bin("typescript/bin/tsc", "--noEmit", "-p", "tsconfig.json"));
await check("a PgBouncer for the tests of poolers", async () => {
  ensurePgBouncer();
  return 0;
});
await suite(
  "unit and integration tests",
  () => bin("vitest/vitest.mjs", "run", "--reporter=default", "--reporter=json", `--outputFile.json=${vitestReport}`),
  readVitest,
);
await check("build", () => node("src/server/start/build.ts"));
await check("build of the packages", () => node("packages/build.ts"));
await check("a Chromium for the browser tests", async () => {
  process.env.PLAYWRIGHT_CHROMIUM_PATH = await ensureChromium();
  return 0;
});
process.env.PLAYWRIGHT_JSON_OUTPUT_NAME = playwrightReport;
await suite("end-to-end tests", () => bin("@playwright/test/cli.js", "test", "--reporter=list,json"), readPlaywright);

rmSync(reports, { recursive: true, force: true });
for (const failure of failures) console.log(`failed: ${failure}`);
console.log(`${tally.passed} passed, ${tally.failed} failed`);
process.exit(tally.failed === 0 ? 0 : 1);

/** Runs a step that counts as one check. */
async function check(name: string, run: () => Promise<number>): Promise<void> {
  const code = await announced(name, run);
  count(name, code === 0 ? { passed: 1, failed: 0, names: [] } : { passed: 0, failed: 1, names: [] });
}

/** `names`: names of failed tests, printed at the end for a log that is cut. */
type Result = { passed: number; failed: number; names: string[] };

/** Runs a step that counts its tests; a step that fails without a failed test, or runs none, counts as failed. */
async function suite(name: string, run: () => Promise<number>, read: () => Result): Promise<void> {
  const code = await announced(name, run);
  let result: Result = { passed: 0, failed: 0, names: [] };
  try {
    result = read();
  } catch (error) {
    console.error(`The report could not be read: ${String(error)}`);
  }
  if (result.failed === 0 && (code !== 0 || result.passed === 0)) result.failed = 1;
  count(name, result);
}

async function announced(name: string, run: () => Promise<number>): Promise<number> {
  console.log(`\n── ${name}`);
  const startedAt = Date.now();
  const code = await run().catch((error: unknown) => {
    console.error(error instanceof Error ? error.message : error);
    return 1;
  });
  console.log(`── ${name}: ${code === 0 ? "ok" : "FAILED"} after ${((Date.now() - startedAt) / 1000).toFixed(0)} s`);
  return code;
}

function count(name: string, result: Result): void {
  tally.passed += result.passed;
  tally.failed += result.failed;
  if (result.failed === 0) return;
  failures.push(name, ...result.names.slice(0, MOST_NAMED).map((each) => `${name}: ${each}`));
}

function readVitest(): Result {
  const report = JSON.parse(readFileSync(vitestReport, "utf8")) as {
    numPassedTests: number;
    numFailedTests: number;
    testResults: { name: string; status: string; assertionResults: { fullName: string; status: string }[] }[];
  };
  const names = report.testResults.flatMap(({ name, status, assertionResults }) => {
    const file = path.relative(root, name);
    const failed = assertionResults.filter((each) => each.status === "failed").map(({ fullName }) => `${file} › ${fullName}`);
    // A file that could not be loaded has no tests.
    return failed.length === 0 && status === "failed" ? [file] : failed;
  });
  return { passed: report.numPassedTests, failed: Math.max(report.numFailedTests, names.length), names };
}

type PlaywrightSuite = {
  suites?: PlaywrightSuite[];
  specs?: { file: string; title: string; tests: { status: string }[] }[];
};

function readPlaywright(): Result {
  const { stats, suites } = JSON.parse(readFileSync(playwrightReport, "utf8")) as {
    stats: { expected: number; unexpected: number; flaky: number };
    suites: PlaywrightSuite[];
  };
  // A test that passes only when repeated counts as failed.
  const didNotHold = ({ suites = [], specs = [] }: PlaywrightSuite): string[] => [
    ...specs
      .filter(({ tests }) => tests.some(({ status }) => status === "unexpected" || status === "flaky"))
      .map(({ file, title }) => `${file} › ${title}`),
    ...suites.flatMap(didNotHold),
  ];
  return { passed: stats.expected, failed: stats.unexpected + stats.flaky, names: suites.flatMap(didNotHold) };
}

function node(script: string): Promise<number> {
  return command([path.join(root, script)]);
}

function bin(file: string, ...args: string[]): Promise<number> {
  return command([path.join(root, "node_modules", file), ...args]);
}

function command(args: string[]): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { cwd: root, stdio: ["ignore", "inherit", "inherit"] });
    child.once("error", reject);
    child.once("exit", (code) => resolve(code ?? 1));
  });
}
