import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, rmSync } from "node:fs";
import { chown, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import path from "node:path";
import { type PostgresHome, postgresHome } from "./postgres-binaries.ts";

/** A PostgreSQL server of our own: its files, and its process while it runs. */
export type Cluster = {
  /** The address of the maintenance database. */
  url: string;
  port: number;
  dataDir: string;
  /** Its programs and user, for other work on its files. */
  home: PostgresHome;
  /** Resolves when the server accepts connections; `env` is added to its environment. Throws an error of one sentence when it does not start. */
  start(settings?: readonly string[], env?: Readonly<Record<string, string>>): Promise<void>;
  /** The postmaster's process id while it runs. */
  pid(): number | undefined;
  /** Sends a signal, by default SIGINT (fast shutdown, which ends sessions), to the postmaster and waits until it has ended. */
  end(signal?: NodeJS.Signals): Promise<void>;
  /** Stops the server and removes its files. */
  remove(): Promise<void>;
};

const READY_WITHIN_MS = 60_000;
const ENDS_WITHIN_MS = 20_000;

/** Creates the files of a new cluster, in `dataDir` or a temporary folder. Does not start it. */
export async function createCluster(options: { dataDir?: string; home?: PostgresHome } = {}): Promise<Cluster> {
  const home = options.home ?? (await postgresHome());
  try {
    const dataDir = options.dataDir ?? path.join(home.folder, "data");
    const passwordFile = path.join(home.folder, "password");
    await writeFile(passwordFile, "postgres\n", { mode: 0o600 });
    if (home.as.uid !== undefined) await chown(passwordFile, home.as.uid, home.as.gid as number);
    // Fixed settings instead of the machine's locale.
    const flags = ["--encoding=UTF8", "--no-locale", "--auth=password", "--username=postgres", `--pwfile=${passwordFile}`];
    const initdb = spawn(home.initdb, [`--pgdata=${dataDir}`, ...flags], { ...home.as, cwd: home.folder, env: environment() });
    const failure = await outcome(initdb);
    if (failure !== null) throw new Error(`The test database could not be made: ${failure}.`);
    return cluster(home, dataDir, await freePort());
  } catch (error) {
    await rm(home.folder, { recursive: true, force: true });
    throw error;
  }
}

/** A cluster on existing files, such as a copy of another cluster's. */
export function cluster(home: PostgresHome, dataDir: string, port: number): Cluster {
  let child: ChildProcess | undefined;
  let exited: Promise<void> = Promise.resolve();
  return {
    url: `postgresql://postgres:postgres@127.0.0.1:${port}/postgres`,
    port,
    dataDir,
    home,
    async start(settings = [], env = {}) {
      // TCP only, so that no socket is created in /tmp.
      const fixed = ["-D", dataDir, "-p", String(port), "-c", "unix_socket_directories="];
      const started = spawn(home.postgres, [...fixed, ...settings], {
        ...home.as,
        cwd: home.folder,
        env: { ...environment(), ...env },
        stdio: ["ignore", "ignore", "pipe"],
      });
      child = started;
      killOnExit(started, home.folder);
      exited = new Promise((resolve) =>
        started.once("close", () => {
          if (child === started) child = undefined;
          resolve();
        }),
      );
      const failure = await ready(started);
      if (failure === null) return;
      started.kill("SIGQUIT");
      throw new Error(`The test database did not start: ${failure}.`);
    },
    pid: () => child?.pid,
    async end(signal = "SIGINT") {
      const ending = child;
      ending?.kill(signal);
      const timer = setTimeout(() => ending?.kill("SIGKILL"), ENDS_WITHIN_MS);
      await exited;
      clearTimeout(timer);
    },
    async remove() {
      await this.end();
      await rm(home.folder, { recursive: true, force: true });
    },
  };
}

/** The environment without settings for PostgreSQL (PGDATA, PGTZ), and with English messages, which `ready` reads. */
function environment(): NodeJS.ProcessEnv {
  const theirs: NodeJS.ProcessEnv = { ...process.env, LC_ALL: "C" };
  for (const name of Object.keys(theirs)) if (name.startsWith("PG")) delete theirs[name];
  return theirs;
}

/** Resolves with null when the server accepts connections, or with the reason why it does not. */
function ready(child: ChildProcess): Promise<string | null> {
  return new Promise((resolve) => {
    let log = "";
    const timer = setTimeout(() => resolve(`it was not ready within ${READY_WITHIN_MS / 1000} s`), READY_WITHIN_MS);
    const settle = (failure: string | null) => {
      clearTimeout(timer);
      resolve(failure);
    };
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      log = (log + text).slice(-4_000);
      if (/database system is ready to accept (read-only )?connections/.test(log)) settle(null);
    });
    child.once("error", (error) => settle(error.message));
    child.once("close", (code, signal) => settle(inWords(log) ?? `it ended with ${signal ?? code}`));
  });
}

/** Resolves with null when the process exited with 0, else with its error. */
function outcome(child: ChildProcess): Promise<string | null> {
  return new Promise((resolve) => {
    let log = "";
    child.stdout?.resume();
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      log = (log + text).slice(-4_000);
    });
    child.once("error", (error) => resolve(error.message));
    child.once("close", (code, signal) => resolve(code === 0 ? null : (inWords(log) ?? `it ended with ${signal ?? code}`)));
  });
}

/** The first error in a log, without its prefix. */
function inWords(log: string): string | undefined {
  return /(?:FATAL|PANIC|error|ERROR):\s+(.*)/.exec(log)?.[1]?.replace(/\.$/, "");
}

const running = new Map<ChildProcess, string>();

/** Ends the server and removes its files when this process is interrupted. */
function killOnExit(child: ChildProcess, folder: string): void {
  if (running.size === 0) {
    process.once("exit", endAll);
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, passOn);
  }
  running.set(child, folder);
  child.once("close", () => {
    running.delete(child);
    if (running.size > 0) return;
    process.off("exit", endAll);
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.off(signal, passOn);
  });
}

function endAll(): void {
  for (const child of running.keys()) child.kill("SIGQUIT");
  for (const folder of running.values()) removeNow(folder);
}

/** Removes the folder synchronously, because an exit handler cannot await; retries while the server's processes still write. */
function removeNow(folder: string): void {
  const moment = new Int32Array(new SharedArrayBuffer(4));
  for (let attempt = 0; attempt < 40; attempt++) {
    try {
      rmSync(folder, { recursive: true, force: true });
      if (!existsSync(folder)) return;
    } catch {
      // Tried again; what is left after the last attempt is in a temporary folder.
    }
    Atomics.wait(moment, 0, 0, 50);
  }
}

/** When another listener handles the signal, it ends the process; otherwise the signal's default does. */
function passOn(signal: NodeJS.Signals): void {
  if (process.listenerCount(signal) > 1) return;
  endAll();
  process.off(signal, passOn);
  process.kill(process.pid, signal);
}

export async function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => (address !== null && typeof address === "object" ? resolve(address.port) : reject(new Error("no port"))));
    });
  });
}
