import { parseArgs } from "node:util";
import { type Scenario, scenarios } from "./scenarios.ts";
import { type Result, Stage } from "./stage.ts";
import { startProvider } from "./world.ts";

/**
 * `npm run faults`: whether answers and the books agree after a fault. A fault hits servers under
 * load; then every answer with a price is matched with its usage row by request id, every usage row
 * with an answer or with a client whose connection ended, and the books are verified. Exits with 1
 * when a bill is lost, doubled or different.
 *
 * - `--only server,failover`: only these scenarios; `--list` prints their names;
 * - `--answers 4000`: the number of answers in each;
 * - `--clients 48`: the number of concurrent clients.
 */
const { values: options } = parseArgs({
  options: {
    only: { type: "string" },
    answers: { type: "string", default: "3600" },
    clients: { type: "string", default: "48" },
    list: { type: "boolean", default: false },
  },
});

/** A scenario that takes longer counts as a fault, and must not keep the others from running. */
const SCENARIO_WITHIN_MS = 6 * 60_000;

if (options.list) for (const { name, title } of scenarios) console.log(`${name.padEnd(20)} ${title}`);
else process.exitCode = await main();
process.exit();

async function main(): Promise<number> {
  const names = options.only?.split(",");
  const unknown = names?.find((name) => !scenarios.some((each) => each.name === name));
  if (unknown !== undefined) {
    console.error(`There is no scenario ${unknown}; --list names them.`);
    return 2;
  }
  const sizes = { answers: Number(options.answers), clients: Number(options.clients) };
  if (!(sizes.answers > 0 && sizes.clients > 0)) {
    console.error("--answers and --clients are numbers above 0.");
    return 2;
  }
  const upstream = await startProvider();
  const startedAt = performance.now();
  const skipped: string[] = [];
  const results: Promise<Result>[] = [];
  // While one scenario waits for its holds to be swept, the next one runs.
  for (const scenario of scenarios.filter(({ name }) => names?.includes(name) ?? true)) {
    const missing = scenario.missing?.() ?? null;
    if (missing !== null) skipped.push(`Not played: ${scenario.title}: ${missing}.`);
    else results.push((await play(scenario)).result);
  }
  const all = await Promise.all(results);
  await upstream.close();

  report(all, skipped, (performance.now() - startedAt) / 1_000);
  return all.every(isClean) ? 0 : 1;

  async function play(scenario: Scenario): Promise<{ result: Promise<Result> }> {
    const stage = await Stage.make(upstream, sizes);
    const note = (text: string) =>
      console.error(`[${((performance.now() - startedAt) / 1_000).toFixed(0).padStart(4)} s] ${scenario.name}: ${text}`);
    try {
      await withinTime(scenario.play(stage));
    } catch (error) {
      stage.problems.push(error instanceof Error ? error.message : String(error));
    }
    note("played");
    const result = (async () => {
      let keep = true;
      try {
        await stage.close();
        const judged = await withinTime(stage.audit(scenario.title));
        keep = !isClean(judged);
        note(keep ? "NOT in order" : "in order");
        return judged;
      } catch (error) {
        note("NOT in order");
        return failed(scenario.title, [...stage.problems, error instanceof Error ? (error.stack ?? error.message) : String(error)]);
      } finally {
        await stage.end({ keep });
      }
    })();
    return { result };
  }
}

function withinTime<T>(work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`not over after ${SCENARIO_WITHIN_MS / 1_000} s`)), SCENARIO_WITHIN_MS);
    work.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

function failed(name: string, problems: string[]): Result {
  const findings = { answers: 0, lost: [], doubled: [], different: [], unexplained: [], unseen: 0, books: [] };
  const counts = { priced: 0, replayed: 0, withoutBalance: 0, refused: new Map(), cutOff: 0, hungUp: 0 };
  return { name, findings, counts, problems, seconds: 0 };
}

function isClean({ findings, problems }: Result): boolean {
  const { lost, doubled, different, unexplained, books } = findings;
  return [lost, doubled, different, unexplained, books, problems].every((each) => each.length === 0);
}

function report(results: readonly Result[], skipped: readonly string[], seconds: number): void {
  const rows = results.map(({ name, findings, counts, problems }) => [
    name,
    findings.answers,
    counts.replayed,
    counts.cutOff + counts.hungUp,
    findings.unseen,
    findings.lost.length,
    findings.doubled.length,
    findings.different.length,
    findings.unexplained.length,
    findings.books.length === 0 && problems.length === 0 ? "in order" : "NOT in order",
  ]);
  const total = ["**all**", ...[1, 2, 3, 4, 5, 6, 7, 8].map((at) => rows.reduce((sum, row) => sum + Number(row[at]), 0))];
  const isFine = results.every(isClean);
  const head = ["After", "Answers", "Replays", "Cut off", "Billed unseen", "Lost", "Doubled", "Different", "Unexplained", "Books"];
  const lines = [
    head,
    head.map((_, at) => (at === 0 || at === 9 ? "---" : "---:")),
    ...rows,
    [...total, isFine ? "in order" : "NOT in order"],
  ];
  console.log(
    `\n${lines.map((line) => `| ${line.map((cell) => (typeof cell === "number" ? cell.toLocaleString("en-US") : cell)).join(" | ")} |`).join("\n")}`,
  );
  for (const line of skipped) console.log(`\n${line}`);
  const refused = new Map<string, number>();
  for (const { counts } of results) for (const [what, times] of counts.refused) refused.set(what, (refused.get(what) ?? 0) + times);
  console.log(
    `\nRefused: ${[...refused]
      .sort((a, b) => b[1] - a[1])
      .map(([what, times]) => `${what} ${times}`)
      .join(", ")}.`,
  );
  console.log(
    `Prices without a balance: ${results.reduce((sum, { counts }) => sum + counts.withoutBalance, 0)}. ${seconds.toFixed(0)} s in all.`,
  );
  for (const result of results) {
    if (isClean(result)) continue;
    console.log(`\n${result.name}:`);
    const { lost, doubled, different, unexplained, books } = result.findings;
    for (const [what, found] of Object.entries({ problem: result.problems, lost, doubled, different, unexplained, books }))
      for (const each of found.slice(0, 5)) console.log(`  ${what}: ${each}`);
  }
}
