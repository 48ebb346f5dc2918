import { spawn } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { forget, type ServerProcess, startServer } from "../../src/testing/server-process.ts";
import { type CodingAgent, codingAgents, recipeOf } from "./agents.ts";
import { type Client, clients } from "./scenarios.ts";

/**
 * `npm run clients`: starts a server with the simulator, runs the clients of `scenarios.ts` and the coding agents of
 * `agents.ts` against it, and prints a table of clients, results and credits. Agents are installed at their pinned
 * versions into temporary folders. The exit code is 1 when a client fails.
 *
 *   npm run clients -- codex      runs only clients whose name contains the word
 *   npm run clients -- --write    also writes the table into docs/site/clients.md, when all clients ran and passed
 */
type Row = { name: string; version: string; problem: string | null; credits: number };

const root = fileURLToPath(new URL("../../", import.meta.url));
const RUN_TIMEOUT_MS = 120_000;
const INSTALL_TIMEOUT_MS = 300_000;

const write = process.argv.includes("--write");
const wanted = process.argv.slice(2).filter((argument) => !argument.startsWith("--"));
const isWanted = ({ name }: { name: string }) => wanted.every((part) => name.toLowerCase().includes(part.toLowerCase()));

const server = await startServer({ pages: false });
const rows: Row[] = [];
try {
  for (const client of clients.filter(isWanted)) await runAndRecord(client.name, versionOf(client.package), () => runScenarios(client));
  for (const agent of codingAgents.filter(isWanted))
    await runAndRecord(agent.name, `${agent.package} ${agent.version}`, () => runAgent(agent));
} finally {
  await server.stop();
  await forget(server);
}
const failed = rows.filter(({ problem }) => problem !== null);
console.log(`\n${table(rows)}\n\n${rows.length - failed.length} of ${rows.length} clients work`);
for (const { name, problem } of failed) console.log(`\n── ${name}\n${problem}`);
if (write && failed.length === 0 && wanted.length === 0) writeTable();
process.exit(failed.length === 0 && rows.length > 0 ? 0 : 1);

/** Runs one client and adds its row. The credits that left the wallet have to equal those in the usage log. */
async function runAndRecord(name: string, version: string, run: () => Promise<void>): Promise<void> {
  const before = await spent(server);
  let problem: string | null = null;
  try {
    await run();
  } catch (error) {
    problem = error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
  const after = await spent(server);
  const credits = before.balance - after.balance;
  if (problem === null && credits <= 0) problem = "nothing was billed";
  if (problem === null && credits !== after.used - before.used)
    problem = `the wallet paid ${credits} credits, and the usage log has ${after.used - before.used}`;
  rows.push({ name, version, problem, credits });
  console.log(`${problem === null ? "ok  " : "FAIL"} ${name.padEnd(40)} ${String(credits).padStart(8)} credits`);
}

async function spent({ url, demo }: ServerProcess): Promise<{ balance: number; used: number }> {
  const ask = async (at: string) =>
    (await fetch(url + at, { headers: { authorization: `Bearer ${demo.api_keys.developer}` } })).json() as Promise<Record<string, unknown>>;
  // The request of a client that disconnects is billed after that, so this waits until nothing is held.
  for (;;) {
    const { balance, held } = (await ask("/v1/balance")) as { balance: number; held: number };
    const { data } = (await ask("/v1/usage?group_by=day")) as { data: { credits_used: number }[] };
    if (held === 0) return { balance, used: data.reduce((sum, { credits_used }) => sum + credits_used, 0) };
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function runScenarios({ scenarios }: Client): Promise<void> {
  for (const [name, scenario] of Object.entries(scenarios)) {
    await scenario({ url: server.url, key: server.demo.api_keys.developer }).catch((error: unknown) => {
      throw new Error(`${name}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    });
  }
}

async function runAgent(agent: CodingAgent): Promise<void> {
  const folder = await mkdtemp(path.join(tmpdir(), "quota-client-"));
  const [installed, home, project] = ["installed", "home", "project"].map((name) => path.join(folder, name)) as [string, string, string];
  try {
    for (const each of [installed, home, project]) await mkdir(each);
    await writeFile(path.join(installed, "package.json"), '{"private":true}');
    const install = ["install", "--no-audit", "--no-fund", "--save-exact", `${agent.package}@${agent.version}`];
    await execute("npm", install, { cwd: installed, env: installEnvironment(), timeoutMs: INSTALL_TIMEOUT_MS });
    await execute("git", ["init", "--quiet"], { cwd: project, env: clientEnvironment(home) });

    const recipe = recipeOf(agent);
    const text = (recipeText: string) => recipeText.replaceAll("http://localhost:3000", server.url);
    const key = server.demo.api_keys.developer;
    if (agent.file !== undefined && recipe.file !== undefined) {
      const file = agent.file.home === undefined ? path.join(project, agent.file.project ?? "") : path.join(home, agent.file.home);
      await mkdir(path.dirname(file), { recursive: true });
      await writeFile(file, text(recipe.file).replaceAll("$QUOTA_API_KEY", key));
    }
    const mark = `mark-${crypto.randomUUID()}`;
    const message = `simulate: call ${agent.tool} ${JSON.stringify(agent.input(`echo ${mark} > mark.txt`))}`;
    const command = text(recipe.command)
      .replace(...(agent.replacement ?? ["", ""]))
      .replace('"Say hello"', `"$MESSAGE"${agent.flags === undefined ? "" : ` ${agent.flags}`}`);
    const bin = path.join(installed, "node_modules/.bin");
    const env = { ...clientEnvironment(home, bin), QUOTA_API_KEY: key, MESSAGE: message };
    const { output } = await execute("bash", ["-euo", "pipefail", "-c", command], { cwd: project, env });
    const written = existsSync(path.join(project, "mark.txt"))
      ? (await readFile(path.join(project, "mark.txt"), "utf8")).trim()
      : "nothing";
    if (written !== mark) throw new Error(`its tool wrote ${written}\n${output.slice(-4_000)}`);
    if (!/result of/.test(output)) throw new Error(`it did not show the last answer\n${output.slice(-4_000)}`);
  } finally {
    await rm(folder, { recursive: true, force: true, maxRetries: 3 });
  }
}

/** The environment of `npm install`: registry and proxy settings stay, the variables that `npm run` sets for this package do not. */
function installEnvironment(): Record<string, string> {
  const own = Object.entries(process.env).filter(
    ([name, value]) => value !== undefined && !/^npm_(?:package|lifecycle|execpath|command|config_local_prefix)/.test(name),
  );
  return Object.fromEntries(own) as Record<string, string>;
}

/** The environment of a client: without the settings of the user who runs this, which could change the result. */
function clientEnvironment(home: string, bin?: string): Record<string, string> {
  const search = [bin, path.join(root, "node_modules/.bin"), process.env.PATH].filter((each) => each !== undefined).join(path.delimiter);
  return { PATH: search, HOME: home, TMPDIR: tmpdir(), LANG: "C.UTF-8", TERM: "dumb", CI: "1", NO_COLOR: "1", SHELL: "/bin/bash" };
}

function execute(
  program: string,
  args: string[],
  { cwd, env, timeoutMs = RUN_TIMEOUT_MS }: { cwd: string; env: Record<string, string>; timeoutMs?: number },
): Promise<{ output: string }> {
  return new Promise((resolve, reject) => {
    // `detached` makes a process group, so that `killGroup` also ends the child's own children.
    const child = spawn(program, args, {
      cwd,
      env: env as unknown as NodeJS.ProcessEnv,
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    });
    let output = "";
    const take = (text: string) => {
      output += text;
    };
    child.stdout.setEncoding("utf8").on("data", take);
    child.stderr.setEncoding("utf8").on("data", take);
    const killGroup = () => {
      try {
        process.kill(-(child.pid as number), "SIGKILL");
      } catch {
        // The group has already ended.
      }
    };
    const timer = setTimeout(killGroup, timeoutMs);
    child.once("error", reject);
    child.once("exit", (code, signal) => {
      clearTimeout(timer);
      killGroup();
      if (code === 0) resolve({ output });
      else reject(new Error(`${program} ended with ${signal ?? code}\n${output.slice(-4_000)}`));
    });
  });
}

function versionOf(name: string): string {
  let folder = path.dirname(createRequire(import.meta.url).resolve(name));
  while (
    !existsSync(path.join(folder, "package.json")) ||
    JSON.parse(readFileSync(path.join(folder, "package.json"), "utf8")).name !== name
  )
    folder = path.dirname(folder);
  return `${name} ${(JSON.parse(readFileSync(path.join(folder, "package.json"), "utf8")) as { version: string }).version}`;
}

function table(all: readonly Row[]): string {
  const lines = all.map(
    ({ name, version, problem, credits }) => `| ${name} | \`${version}\` | ${problem === null ? "works" : "fails"} | ${credits} |`,
  );
  return ["| Client | Version | Result | Credits |", "|---|---|---|---|", ...lines].join("\n");
}

/** Replaces the table in docs/site/clients.md. */
function writeTable(): void {
  const file = path.join(root, "docs/site/clients.md");
  const page = readFileSync(file, "utf8");
  const old = /^\| Client \| Version \|.*\n(?:\|.*\n)*/m;
  if (!old.test(page)) throw new Error("docs/site/clients.md has no table of clients");
  writeFileSync(
    file,
    page.replace(old, () => `${table(rows)}\n`),
  );
}
