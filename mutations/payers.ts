import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { migrate } from "../prisma/migrate.ts";
import { openDatabase } from "../src/server/platform/db.ts";
import { functionsOf, type Mutant } from "../src/testing/mutant.ts";
import { startPostgres } from "../src/testing/postgres.ts";

/**
 * `npm run mutate:payers`: breaks each rule about who pays, at each place where a function of the database states
 * it, one at a time, and runs the tests of the rule's room. Fails when those pass with a broken rule, or when a
 * rule's text is not found. Arguments select rules by name.
 */
type Rule = { name: string; from: string; to: string; tests: string };

const payers = "src/server/connect/payers.test.ts";
const holds = "src/server/ledger/hold.test.ts";
const limits = "src/server/ledger/limits-locks.test.ts";
const rules: readonly Rule[] = [
  { name: "agreed markup", from: "least(of_app, agreed)", to: "of_app", tests: payers },
  { name: "app's markup below the agreed", from: "least(of_app, agreed)", to: "coalesce(agreed, of_app)", tests: payers },
  {
    name: "link's scope to spend",
    from: "WHEN NOT scope_grants(granted, 'credits.spend') THEN CASE WHEN by_token THEN 'insufficient_scope'::hold_verdict ELSE 'not_found' END",
    to: "",
    tests: payers,
  },
  {
    name: "token's scope to spend",
    from: "WHEN by_token AND scope_grants(asked, 'credits.spend') IS NOT TRUE THEN 'insufficient_scope'",
    to: "",
    tests: payers,
  },
  { name: "link's scope to read, of keys", from: "OR scope_grants(l.scope, 'credits.read')", to: "OR true", tests: payers },
  { name: "link's scope to read, of tokens", from: "AND scope_grants(l.scope, 'credits.read')", to: "", tests: payers },
  { name: "token's scope to read", from: "scope_grants(t.scope, 'credits.read') AND", to: "", tests: payers },
  {
    name: "a scope is one of the words",
    from: "word = ANY (string_to_array(scope, ' '))",
    to: "scope LIKE '%' || word || '%'",
    tests: payers,
  },
  { name: "paused link", from: "WHEN paused_at IS NOT NULL THEN 'not_found'", to: "", tests: payers },
  {
    name: "link that is gone",
    from: "WHEN link_id IS NULL THEN CASE WHEN by_token THEN 'invalid_api_key'::hold_verdict ELSE 'not_found' END",
    to: "",
    tests: payers,
  },
  { name: "app's models", from: "WHEN NOT models_allow(app_models, model) THEN 'model_not_allowed'", to: "", tests: payers },
  { name: "link's models", from: "WHEN NOT models_allow(link_models, model) THEN 'model_not_allowed'", to: "", tests: payers },
  { name: "an empty list allows any model", from: "allowed = '{}' OR", to: "", tests: payers },
  { name: "month of the limit", from: "WHEN limit_ends_at <= now() THEN 'limit_due'", to: "", tests: payers },
  { name: "revoked key", from: "AND k.revoked_at IS NULL", to: "", tests: payers },
  { name: "expired key", from: "AND (k.expires_at IS NULL OR k.expires_at > now())", to: "", tests: payers },
  { name: "user key without a user", from: "WHEN mode = 'user' AND named IS NULL THEN 'user_required'", to: "", tests: payers },
  { name: "missing user of the sandbox", from: "WHEN named = 'sandbox_missing' THEN 'not_found'", to: "", tests: payers },
  {
    name: "empty user of the sandbox",
    from: "WHEN named = 'sandbox_empty' THEN 'insufficient_credits'",
    to: "",
    tests: payers,
  },
  {
    name: "users of the sandbox are a test key's",
    from: "k.billing_mode = 'test' OR named IS NULL",
    to: "named LIKE 'sandbox%' OR k.billing_mode = 'test' OR named IS NULL",
    tests: payers,
  },
  { name: "sandbox's wallet", from: "WHEN k.billing_mode = 'test' THEN a.sandbox_wallet_id", to: "", tests: payers },
  { name: "an app's own users", from: "WHERE l.app_id = k.app_id AND", to: "WHERE", tests: payers },
  { name: "a token is no key", from: "WHERE NOT by_token", to: "", tests: payers },
  { name: "a key is no token", from: "WHERE by_token", to: "", tests: payers },
  { name: "expired token", from: "AND r.id_hash = credential AND r.expires_at > now()", to: "AND r.id_hash = credential", tests: payers },
  { name: "expired grant", from: "r.kind = 'Grant' AND r.expires_at > now()", to: "r.kind = 'Grant'", tests: payers },
  { name: "grant of a token", from: "OFFSET 0) r\n", to: "UNION ALL SELECT NULL LIMIT 1) r\n", tests: payers },
  { name: "markup is rounded up", from: "+ 9999", to: "", tests: holds },
  { name: "an eighth of what there is", from: "available / 8", to: "0", tests: "src/server/ledger/grow.test.ts" },
  { name: "what wallet and limit lack", from: "WHEN needed > limit_total THEN 'spending_limit_reached'", to: "", tests: holds },
  { name: "paused while a request waits, alone", from: "link.paused_at IS NOT NULL OR", to: "", tests: limits },
  { name: "paused while a request waits, in a batch", from: " OR l.paused_at IS NOT NULL OR", to: " OR", tests: limits },
];

/** Functions of versions before, which nothing calls any more, state rules that no test can break. */
const isOfThisVersion = (signature: string) =>
  /^(payer_\w+|verdict_\w+|scope_grants|models_allow|with_markup|share_to_hold|post_batch|reserve_hold)\(/.test(signature);

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
    return (await functionsOf(db)).filter(({ signature }) => isOfThisVersion(signature));
  } finally {
    await db.close();
  }
}

/** Whether a test fails with this mutant; throws when the test run ends for another reason. */
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
