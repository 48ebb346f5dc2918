import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { migrate } from "../prisma/migrate.ts";
import { openDatabase } from "../src/server/platform/db.ts";
import { functionsOf, type Mutant } from "../src/testing/mutant.ts";
import { startPostgres } from "../src/testing/postgres.ts";

/**
 * `npm run mutate:payers`: breaks each rule about who pays, wherever the database's functions state it, one
 * place at a time, and runs the tests of the room that the rule belongs to. Fails when one of these passes
 * all the same, or when a rule is not found any more. Words behind the command choose rules by their names.
 */
type Rule = { name: string; from: string; to: string; tests: string };

const payers = "src/server/connect/payers.test.ts";
const rules: readonly Rule[] = [
  { name: "agreed markup", from: "least(a.markup_bps, l.agreed_markup_bps)", to: "a.markup_bps", tests: payers },
  {
    name: "app's markup below the agreed",
    from: "least(a.markup_bps, l.agreed_markup_bps)",
    to: "coalesce(l.agreed_markup_bps, a.markup_bps)",
    tests: payers,
  },
  { name: "link's scope to spend, of keys", from: "AND l.scope LIKE '%credits.spend%'", to: "", tests: payers },
  {
    name: "link's scope to spend, of tokens",
    from: "WHEN 'credits.spend' <> ALL (string_to_array(l.scope, ' ')) THEN 8",
    to: "",
    tests: payers,
  },
  {
    name: "token's scope to spend",
    from: "WHEN 'credits.spend' <> ALL (string_to_array(coalesce(t.scope, ''), ' ')) THEN 8",
    to: "",
    tests: payers,
  },
  { name: "link's scope to read, of keys", from: "l.scope LIKE '%credits.read%' AS may_read", to: "true AS may_read", tests: payers },
  {
    name: "link's scope to read, of keys alone",
    from: "l.id IS NULL OR l.scope LIKE '%credits.read%', least",
    to: "true, least",
    tests: payers,
  },
  { name: "link's scope to read, of tokens", from: "AND 'credits.read' = ANY (string_to_array(l.scope, ' '))", to: "", tests: payers },
  { name: "token's scope to read", from: "'credits.read' = ANY (string_to_array(t.scope, ' ')) AND", to: "", tests: payers },
  { name: "paused link, of keys", from: "AND l.paused_at IS NULL AND l.scope", to: "AND l.scope", tests: payers },
  { name: "paused link, of tokens", from: "WHEN l.paused_at IS NOT NULL THEN 3", to: "", tests: payers },
  { name: "app's models", from: "a.allowed_models <> '{}' AND", to: "false AND", tests: payers },
  { name: "link's models", from: "l.allowed_models <> '{}' AND", to: "false AND", tests: payers },
  { name: "revoked key", from: "AND k.revoked_at IS NULL", to: "", tests: payers },
  { name: "expired key", from: "AND (k.expires_at IS NULL OR k.expires_at > now())", to: "", tests: payers },
  { name: "missing user of the sandbox", from: "WHEN q.ext = 'sandbox_missing' THEN 3", to: "", tests: payers },
  { name: "missing user of the sandbox, alone", from: "WHEN ext = 'sandbox_missing' THEN 3", to: "", tests: payers },
  { name: "empty user of the sandbox", from: "WHEN q.ext = 'sandbox_empty' THEN 5", to: "", tests: payers },
  { name: "empty user of the sandbox, alone", from: "WHEN ext = 'sandbox_empty' THEN 5", to: "", tests: payers },
  { name: "sandbox's wallet", from: "WHEN k.billing_mode = 'test' THEN a.sandbox_wallet_id", to: "", tests: payers },
  { name: "user key without a user", from: "k.billing_mode = 'user' AND", to: "false AND", tests: payers },
  { name: "month of the limit", from: "WHEN l.limit_period_ends_at <= now() THEN 7", to: "", tests: payers },
  { name: "grant of a token", from: "WHEN g.id IS NULL THEN 1", to: "", tests: payers },
  { name: "expired token", from: "AND r.id_hash = q.hash AND r.expires_at > now()", to: "AND r.id_hash = q.hash", tests: payers },
  { name: "expired grant", from: "r.kind = 'Grant' AND r.expires_at > now()", to: "r.kind = 'Grant'", tests: payers },
];

/** Functions of versions before, which nothing calls any more, state rules that no test can break. */
const isCalled = (signature: string) => /^ledger_(post|hold_one)\(.*boolean\)$/.test(signature);

const root = fileURLToPath(new URL("../", import.meta.url));
const words = process.argv.slice(2);
const chosen = rules.filter(({ name }) => words.length === 0 || words.some((word) => name.includes(word)));
const postgres = await startPostgres(["-c", "fsync=off"]);
const notKilled: string[] = [];
try {
  const functions = await definitions();
  for (const rule of chosen) {
    const mutants = functions.flatMap(({ signature, definition }) =>
      Array.from(
        { length: definition.split(rule.from).length - 1 },
        (_, index): Mutant => ({ signature, from: rule.from, to: rule.to, index }),
      ),
    );
    if (mutants.length === 0) report(rule.name, "is stated nowhere: the list has to follow the functions", true);
    for (const mutant of mutants) {
      const startedAt = performance.now();
      const isKilled = await failsWith(mutant, rule.tests);
      const where = `${mutant.signature.split("(")[0]}, ${mutant.index + 1} of ${mutants.filter((each) => each.signature === mutant.signature).length}`;
      report(
        rule.name,
        `${isKilled ? "killed" : "SURVIVED"} in ${where} (${Math.round((performance.now() - startedAt) / 1_000)} s)`,
        !isKilled,
      );
    }
  }
} finally {
  await postgres.stop();
}
console.log(notKilled.length === 0 ? "Every mutant was killed." : `Not killed: ${notKilled.join(", ")}.`);
process.exitCode = notKilled.length === 0 ? 0 : 1;

function report(name: string, what: string, isBad: boolean): void {
  console.log(`${name}: ${what}`);
  if (isBad) notKilled.push(name);
}

async function definitions() {
  const db = await openDatabase({});
  try {
    await migrate(db);
    return (await functionsOf(db)).filter(({ signature }) => isCalled(signature));
  } finally {
    await db.close();
  }
}

/** Whether a test fails in a database that has this mutant; throws when the run ends for another reason. */
async function failsWith(mutant: Mutant, tests: string): Promise<boolean> {
  const child = spawn(process.execPath, ["node_modules/vitest/vitest.mjs", "run", "--bail=1", "--reporter=json", "-t", "Postgres", tests], {
    cwd: root,
    env: { ...process.env, DATABASE_URL: postgres.url, QUOTA_MUTANT: JSON.stringify(mutant) },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
  await new Promise((resolve, reject) => child.once("error", reject).once("close", resolve));
  const results = (JSON.parse(output.slice(output.indexOf("{"))) as Results).testResults.flatMap(
    ({ assertionResults }) => assertionResults,
  );
  const failures = results.filter(({ status }) => status === "failed").flatMap(({ failureMessages }) => failureMessages);
  if (failures.length === 0 && !results.some(({ status }) => status === "passed")) throw new Error(`no test of ${tests} was run`);
  const fault = failures.find((message) => /syntax error|(column|function|operator|relation) .* does not exist/.test(message));
  if (fault !== undefined) throw new Error(`${mutant.signature} is no function any more without ${mutant.from}: ${fault}`);
  return failures.length > 0;
}

type Results = { testResults: { assertionResults: { status: string; failureMessages: string[] }[] }[] };
