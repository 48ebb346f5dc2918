import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, rmSync } from "node:fs";
import { chown, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import path from "node:path";
import { type PostgresHome, postgresHome } from "./postgres-binaries.ts";

/** A PostgreSQL server of our own: its files, and the process that serves them while it runs. */
export type Cluster = {
  /** Of the maintenance database. */
  url: string;
  port: number;
  dataDir: string;
  /** Who runs it; for what else has to be done on its files. */
  home: PostgresHome;
  /** Resolves when it takes connections; `env` is added to its environment. Throws one sentence when it does not start. */
  start(settings?: readonly string[], env?: Readonly<Record<string, string>>): Promise<void>;
  /** The postmaster's process id while it runs. */
  pid(): number | undefined;
  /** Ends the postmaster by a signal, SIGINT (which lets nobody finish) unless told otherwise, and waits until it has ended. */
  end(signal?: NodeJS.Signals): Promise<void>;
  /** Ends it and removes its files. */
  remove(): Promise<void>;
};

const READY_WITHIN_MS = 60_000;
const ENDS_WITHIN_MS = 20_000;

/** Makes the files of a new cluster; `dataDir` puts them elsewhere than in a temporary folder. Nothing runs yet. */
export async function createCluster(options: { dataDir?: string; home?: PostgresHome } = {}): Promise<Cluster> {
  const home = options.home ?? (await postgresHome());
  try {
    const dataDir = options.dataDir ?? path.join(home.folder, "data");
    const passwordFile = path.join(home.folder, "password");
    await writeFile(passwordFile, "postgres\n", { mode: 0o600 });
    if (home.as.uid !== undefined) await chown(passwordFile, home.as.uid, home.as.gid as number);
    // Whatever the machine's own locale is.
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

/** A server on files that are there already, such as a copy of another cluster's. */
export function cluster(home: PostgresHome, dataDir: string, port: number): Cluster {
  let child: ChildProcess | undefined;
  let exited: Promise<void> = Promise.resolve();
  return {
    url: `postgresql://postgres:postgres@127.0.0.1:${port}/postgres`,
    port,
    dataDir,
    home,
    async start(settings = [], env = {}) {
      // TCP only: nobody needs the socket in /tmp.
      const fixed = ["-D", dataDir, "-p", String(port), "-c", "unix_socket_directories="];
      const started = spawn(home.postgres, [...fixed, ...settings], {
        ...home.as,
        cwd: home.folder,
        env: { ...environment(), ...env },
        stdio: ["ignore", "ignore", "pipe"],
      });
      child = started;
      endWithUs(started, home.folder);
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

/** Not the settings of whoever runs the tests (PGDATA, PGTZ), and messages in the language that `ready` reads. */
function environment(): NodeJS.ProcessEnv {
  const theirs: NodeJS.ProcessEnv = { ...process.env, LC_ALL: "C" };
  for (const name of Object.keys(theirs)) if (name.startsWith("PG")) delete theirs[name];
  return theirs;
}

/** null once it takes connections, or what is in the way, in words. */
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

/** null when it ended with 0. */
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

/** The first line that names an error, without what stands in front of it. */
function inWords(log: string): string | undefined {
  return /(?:FATAL|PANIC|error|ERROR):\s+(.*)/.exec(log)?.[1]?.replace(/\.$/, "");
}

const running = new Map<ChildProcess, string>();

/** A run that is stopped in the middle leaves no server and no files behind. */
function endWithUs(child: ChildProcess, folder: string): void {
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

/** Its processes still write while they end, and nothing can be awaited any more. */
function removeNow(folder: string): void {
  const moment = new Int32Array(new SharedArrayBuffer(4));
  for (let attempt = 0; attempt < 40; attempt++) {
    try {
      rmSync(folder, { recursive: true, force: true });
      if (!existsSync(folder)) return;
    } catch {
      // Once more; what is left in the end is in a temporary folder.
    }
    Atomics.wait(moment, 0, 0, 50);
  }
}

/** Who listens to signals besides us knows how to end; with nobody else, the signal does what it does by itself. */
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
