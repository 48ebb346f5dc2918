import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import pg from "pg";
import { freePort } from "./postgres.ts";

const PATHS = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/usr/local/bin/pgbouncer", "/opt/homebrew/bin/pgbouncer"];

/** The path of PgBouncer; tries to install it when it is missing. Throws an error that says what to do when that fails. */
export function ensurePgBouncer(): string {
  const find = () => PATHS.find((each) => existsSync(each));
  if (find() === undefined && process.getuid?.() === 0) {
    console.log("There is no PgBouncer yet: apt-get install pgbouncer …");
    // Another process may be installing it too, so apt-get waits for dpkg's lock.
    const aptGet = (...args: string[]) =>
      spawnSync("apt-get", ["-o", "DPkg::Lock::Timeout=120", "-o", "Acquire::Retries=3", "--yes", ...args], {
        stdio: ["ignore", "ignore", "inherit"],
        timeout: 300_000,
        env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
      });
    if (aptGet("install", "pgbouncer").status !== 0) {
      aptGet("update");
      aptGet("install", "pgbouncer");
    }
  }
  const found = find();
  if (found !== undefined) return found;
  throw new Error(
    "The tests of poolers need PgBouncer and found none. Install it (`apt-get install pgbouncer`, `brew install pgbouncer`); as root on Debian they do so themselves.",
  );
}

export type PgBouncerOptions = {
  mode: "session" | "transaction" | "statement";
  /** The number of connections to Postgres. */
  size?: number;
  /** 1: uses connections to Postgres in turn (round robin) instead of the last used one. */
  server_round_robin?: 0 | 1;
};

/**
 * Starts a PgBouncer in front of a server, on a free port, with default settings but for the mode.
 * Returns the address of the same database through it.
 */
export async function startPgBouncer(databaseUrl: string, options: PgBouncerOptions) {
  const program = ensurePgBouncer();
  const target = new URL(databaseUrl);
  const port = await freePort();
  const folder = await mkdtemp(path.join(tmpdir(), "quota-pgbouncer-"));
  const config = path.join(folder, "pgbouncer.ini");
  await writeFile(path.join(folder, "users.txt"), `"${target.username}" "${target.password}"\n`);
  await writeFile(
    config,
    [
      "[databases]",
      `* = host=${target.hostname} port=${target.port}`,
      "[pgbouncer]",
      "listen_addr = 127.0.0.1",
      `listen_port = ${port}`,
      "unix_socket_dir =",
      "auth_type = plain",
      `auth_file = ${path.join(folder, "users.txt")}`,
      `pool_mode = ${options.mode}`,
      `default_pool_size = ${options.size ?? 40}`,
      `server_round_robin = ${options.server_round_robin ?? 0}`,
      "max_client_conn = 200",
      "",
    ].join("\n"),
  );
  // PgBouncer refuses to run as root, and runs as `nobody`, who has to be able to read the folder.
  await chmod(folder, 0o755);
  const child = spawn(program, [...(process.getuid?.() === 0 ? ["-u", "nobody"] : []), config], { stdio: ["ignore", "ignore", "pipe"] });
  let output = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  const exited = new Promise<void>((resolve) => child.once("close", () => resolve()));
  const killOnExit = () => void child.kill("SIGKILL");
  process.once("exit", killOnExit);
  const url = new URL(databaseUrl);
  url.hostname = "127.0.0.1";
  url.port = String(port);
  await answers(url.href, child, () => output);
  return {
    url: url.href,
    async stop(): Promise<void> {
      child.kill("SIGKILL");
      await exited;
      process.off("exit", killOnExit);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function answers(url: string, child: ChildProcess, output: () => string): Promise<void> {
  const deadline = Date.now() + 30_000;
  for (;;) {
    const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000 });
    client.on("error", () => {});
    try {
      await client.connect();
      await client.query("SELECT 1");
      return;
    } catch (error) {
      if (child.exitCode !== null || Date.now() > deadline) throw new Error(`PgBouncer did not start: ${String(error)}\n${output()}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    } finally {
      await client.end().catch(() => {});
    }
  }
}
