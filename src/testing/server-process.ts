import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import type { Demo } from "../../prisma/seed.ts";
import { freePort } from "./postgres.ts";

/** A server process, started like `npm start`. */
export type ServerProcess = {
  url: string;
  pid: number;
  dataDir: string;
  /** The content of demo.json. */
  demo: Demo;
  /** Everything that the process has written. */
  output(): { stdout: string; stderr: string };
  /** Sends SIGTERM and waits; returns the exit code, or the signal that ended the process. */
  stop(): Promise<number | NodeJS.Signals>;
  /** Sends SIGTERM without waiting. */
  terminate(): void;
  /** Sends SIGKILL, so that nothing is cleaned up, and waits. */
  kill9(): Promise<void>;
  killed(): boolean;
  exited: Promise<number | NodeJS.Signals>;
};

export type ServerOptions = {
  /** A Postgres; without it the server has an embedded database in its data folder. */
  databaseUrl?: string | undefined;
  /** A data folder of a server that ended. Without it the folder is new. */
  dataDir?: string | undefined;
  /** The provider; without it the simulator answers. */
  upstream?: { url: string; key: string } | undefined;
  env?: Record<string, string>;
  /** false serves no pages; without Next the server starts sooner. */
  pages?: boolean;
  /** Started through npm; `pid` is npm's then. */
  npm?: boolean;
};

const root = fileURLToPath(new URL("../../", import.meta.url));
const READY_WITHIN_MS = 90_000;

/** Starts a server and resolves when it answers /healthz. Throws with its output when it does not. */
export async function startServer(options: ServerOptions = {}): Promise<ServerProcess> {
  const dataDir = options.dataDir ?? (await mkdtemp(path.join(tmpdir(), "quota-server-")));
  const port = await freePort();
  // Only these variables, so that settings of this machine do not change the server under test.
  const inherited = Object.fromEntries(Object.entries(process.env).filter(([name]) => ["PATH", "HOME", "TMPDIR", "LANG"].includes(name)));
  const withoutPages =
    options.pages === false || process.env.QUOTA_E2E_PAGES === "0" ? ["--import", path.join(root, "src/testing/without-pages.ts")] : [];
  const [program, args] = options.npm ? ["npm", ["start"]] : [process.execPath, [...withoutPages, path.join(root, "src/server/main.ts")]];
  const child = spawn(program, args, {
    cwd: root,
    stdio: ["ignore", "pipe", "pipe"],
    env: {
      ...inherited,
      NODE_ENV: "production",
      PORT: String(port),
      QUOTA_DATA_DIR: dataDir,
      QUOTA_DEMO: "1",
      QUOTA_RATE_LIMIT_PER_MINUTE: "1000000",
      QUOTA_OAUTH_RATE_LIMIT_PER_MINUTE: "1000000",
      QUOTA_SIMULATOR_TOKENS_PER_SECOND: "0",
      // Webhook receivers of tests listen on this machine.
      QUOTA_WEBHOOK_ALLOW_LOOPBACK: "1",
      ...(options.databaseUrl === undefined ? {} : { DATABASE_URL: options.databaseUrl }),
      ...(options.upstream === undefined ? {} : providers(options.upstream)),
      ...options.env,
    },
  });
  killOnExit(child);
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  // "close" and not "exit", because output may arrive until "close".
  const exited = new Promise<number | NodeJS.Signals>((resolve) => child.once("close", (code, signal) => resolve(signal ?? code ?? 0)));

  const url = `http://127.0.0.1:${port}`;
  await ready(url, child, () => `${stdout}\n${stderr}`);
  const demo = JSON.parse(await readFile(path.join(dataDir, "demo.json"), "utf8")) as Demo;
  return {
    url,
    pid: child.pid as number,
    dataDir,
    demo,
    output: () => ({ stdout, stderr }),
    async stop() {
      child.kill("SIGTERM");
      return exited;
    },
    terminate: () => void child.kill("SIGTERM"),
    async kill9() {
      child.kill("SIGKILL");
      await exited;
    },
    killed: () => child.signalCode === "SIGKILL",
    exited,
  };
}

/** Points all providers that tests use at the fake provider. */
function providers({ url, key }: { url: string; key: string }): Record<string, string> {
  return { OPENAI_BASE_URL: url, OPENAI_API_KEY: key, ANTHROPIC_BASE_URL: url, ANTHROPIC_API_KEY: key };
}

/** Removes the data folder of a server that has ended. */
export async function forget(server: ServerProcess): Promise<void> {
  await rm(server.dataDir, { recursive: true, force: true });
}

async function ready(url: string, child: ChildProcess, output: () => string): Promise<void> {
  const deadline = Date.now() + READY_WITHIN_MS;
  for (;;) {
    if (child.exitCode !== null || child.signalCode !== null)
      throw new Error(`The server ended with ${child.exitCode ?? child.signalCode}:\n${output()}`);
    try {
      if ((await fetch(`${url}/healthz`)).ok) return;
    } catch {
      // The server does not listen yet.
    }
    if (Date.now() > deadline) {
      child.kill("SIGKILL");
      throw new Error(`The server was not ready in ${READY_WITHIN_MS / 1000} s:\n${output()}`);
    }
    // Polled every 10 ms, so that tests also meet a server that has just begun to answer.
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const children = new Set<ChildProcess>();

/** Kills servers when the test run is interrupted. */
function killOnExit(child: ChildProcess): void {
  if (children.size === 0) process.once("exit", () => children.forEach((each) => void each.kill("SIGKILL")));
  children.add(child);
  child.once("close", () => children.delete(child));
}
