import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { ensureExample } from "../../packages/build.ts";
import type { Demo } from "../../prisma/seed.ts";
import { parentGone } from "../../src/server/start/parent.ts";

/**
 * `npm run example`: runs this app on port 4000 as the server's demo app, and the server too unless
 * one is running.
 */
const here = path.dirname(fileURLToPath(import.meta.url));
const root = path.join(here, "../..");
const dataDir = path.resolve(root, process.env.QUOTA_DATA_DIR ?? ".quota");
const serverUrl = (process.env.QUOTA_API_URL ?? `http://localhost:${process.env.PORT ?? "3000"}`).replace(/\/$/, "");
const ADDRESS = "http://localhost:4000";

const children: ChildProcess[] = [];
let told = false;
const tellChildren = () => {
  told = true;
  for (const child of children) child.kill("SIGTERM");
};
// A second signal would kill the server.
const tellOnce = () => told || tellChildren();
// A terminal signals the whole process group.
process.on("SIGINT", () => {
  told = true;
});
process.on("SIGTERM", tellChildren);
process.on("exit", tellOnce);
void parentGone().then(tellOnce);

await ensureExample(() => console.log("Building the example (about half a minute, once) …"));
if (!(await isUp())) {
  console.log("Starting the server …");
  run(["src/server/main.ts"], root, { QUOTA_WEBHOOK_ALLOW_LOOPBACK: "1" });
  while (!(await isUp())) {
    if (children.some(({ exitCode }) => exitCode !== null)) process.exit(1);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

const demoFile = path.join(dataDir, "demo.json");
if (!existsSync(demoFile)) {
  console.error(`${demoFile} is not there: the example is the app that the server makes as demo data. Start the server with QUOTA_DEMO=1.`);
  process.exit(1);
}
const demo = JSON.parse(readFileSync(demoFile, "utf8")) as Demo;
run([path.join(root, "node_modules/next/dist/bin/next"), "start", "--port", "4000", "--hostname", "localhost"], here, {
  NODE_ENV: "production",
  NEXT_TELEMETRY_DISABLED: "1",
  QUOTA_API_URL: serverUrl,
  QUOTA_API_KEY: demo.api_keys.user,
  QUOTA_CLIENT_ID: demo.app.client_id,
  QUOTA_CLIENT_SECRET: demo.app.client_secret,
  QUOTA_WEBHOOK_SECRET: (await webhookSecret()) ?? "",
  ACME_SESSION_SECRET: kept("example-session-secret", () => randomBytes(32).toString("base64url")),
});
console.log(`
  The example is at ${ADDRESS}

  Sign in with any name, press Connect Wallet, and sign in to Quota as
  ${demo.user.email}   ${demo.user.password}

  Stop with Ctrl+C.
`);

async function isUp(): Promise<boolean> {
  try {
    return (await fetch(`${serverUrl}/healthz`, { signal: AbortSignal.timeout(2_000) })).ok;
  } catch {
    return false;
  }
}

function run(args: string[], cwd: string, env: Record<string, string>): void {
  const child = spawn(process.execPath, args, { cwd, stdio: ["ignore", "inherit", "inherit"], env: { ...process.env, ...env } });
  child.once("exit", (code) => process.exit(code ?? 0));
  children.push(child);
}

/** The secret of this app's webhook endpoint, which is created at the first start; null when the server has no webhooks. */
async function webhookSecret(): Promise<string | null> {
  const url = `${ADDRESS}/api/webhooks/quota`;
  const headers = { authorization: `Bearer ${demo.api_keys.developer}`, "content-type": "application/json" };
  const list = await fetch(`${serverUrl}/v1/webhooks`, { headers });
  if (!list.ok) return null;
  const there = ((await list.json()) as { data: { id: string; url: string }[] }).data.filter((each) => each.url === url);
  const known = read(`example-webhook-${there[0]?.id}`);
  if (known !== null) return known;
  // The secret of an existing endpoint is not known, because the API shows it once.
  for (const { id } of there) await fetch(`${serverUrl}/v1/webhooks/${id}`, { method: "DELETE", headers });
  const events = ["user.connected", "user.disconnected", "usage.completed", "balance.updated", "balance.low"];
  const made = await fetch(`${serverUrl}/v1/webhooks`, { method: "POST", headers, body: JSON.stringify({ url, events }) });
  if (!made.ok) {
    const { error } = (await made.json()) as { error: { message: string; param: string | null } };
    const way = error.param === "url" ? " Start the server with QUOTA_WEBHOOK_ALLOW_LOOPBACK=1 to have them." : "";
    console.error(`No webhooks: ${error.message}${way}`);
    return null;
  }
  const { id, secret } = (await made.json()) as { id: string; secret: string };
  return kept(`example-webhook-${id}`, () => secret);
}

/** A secret of this example, stored beside the demo data, readable by its owner only. */
function kept(name: string, make: () => string): string {
  const known = read(name);
  if (known !== null) return known;
  const made = make();
  mkdirSync(dataDir, { recursive: true });
  writeFileSync(path.join(dataDir, name), made, { mode: 0o600 });
  return made;
}

function read(name: string): string | null {
  const file = path.join(dataDir, name);
  return existsSync(file) ? readFileSync(file, "utf8") : null;
}
