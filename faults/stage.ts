import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { postgresPids } from "../bench/cpu.ts";
import { migrate } from "../prisma/migrate.ts";
import { verify } from "../src/server/ledger/verify.ts";
import { type Database, openDatabase } from "../src/server/platform/db.ts";
import type { FakeUpstream } from "../src/testing/fake-upstream.ts";
import type { Cluster } from "../src/testing/postgres-cluster.ts";
import { type ServerProcess, startServer } from "../src/testing/server-process.ts";
import { audit, type Findings } from "./audit.ts";
import { type Counts, Load } from "./load.ts";
import { makeWorld, pause } from "./world.ts";

export type Sizes = { answers: number; clients: number };

export type Result = { name: string; findings: Findings; counts: Counts; problems: string[]; seconds: number };

/** The request time limit of the servers; their orphaned holds are swept a minute after it. */
const REQUEST_TIMEOUT_MS = 20_000;
const ORPHANS_RETURNED_WITHIN_MS = REQUEST_TIMEOUT_MS + 60_000 + 45_000;
/** Servers check every minute whether the daily proof is due. */
const PROVED_WITHIN_MS = 90_000;
const REACHED_WITHIN_MS = 150_000;

/** Servers on a database, clients that load them, and operations for scenarios. */
export class Stage {
  /** Faults that the books do not show: a server that exited, a load that stalled. */
  readonly problems: string[] = [];
  readonly folder: string;
  readonly servers: (ServerProcess | null)[] = [];
  /** All servers that ran, for their output. */
  readonly #started: { index: number; server: ServerProcess }[] = [];
  readonly #upstream: FakeUpstream;
  readonly #sizes: Sizes;
  readonly #startedAt = performance.now();
  readonly #cleanings: (() => Promise<unknown>)[] = [];
  #load: Load | undefined;
  #databaseUrl: string | undefined;
  #afterwards: (() => Promise<void>) | undefined;
  #env: ((index: number) => Record<string, string>) | undefined;

  private constructor(upstream: FakeUpstream, sizes: Sizes, folder: string) {
    this.#upstream = upstream;
    this.#sizes = sizes;
    this.folder = folder;
  }

  static async make(upstream: FakeUpstream, sizes: Sizes): Promise<Stage> {
    return new Stage(upstream, sizes, await mkdtemp(path.join(tmpdir(), "quota-faults-")));
  }

  /** Runs `clean` when the scenario has ended; several run in reverse order. */
  onEnd(clean: () => Promise<unknown>): void {
    this.#cleanings.push(clean);
  }

  /** Starts this many servers, and the clients. Without a `databaseUrl` one server on an embedded database. */
  async open(options: { databaseUrl?: string; servers?: number; env?: (index: number) => Record<string, string> } = {}): Promise<void> {
    this.#databaseUrl = options.databaseUrl;
    this.#env = options.env;
    const world = await this.#withDatabase(async (db) => {
      await migrate(db);
      return makeWorld(db);
    });
    for (let index = 0; index < (options.servers ?? (options.databaseUrl === undefined ? 1 : 2)); index++) {
      this.servers.push(null);
      await this.start(index);
    }
    const targets = () => this.servers.flatMap((server) => (server === null ? [] : [server.url]));
    this.#load = new Load(world, targets, { clients: this.#sizes.clients, file: path.join(this.folder, "answers.log") });
  }

  /** Starts a server, again or for the first time, on its data folder. */
  async start(index: number, env: Record<string, string> = {}): Promise<void> {
    const server = await startServer({
      databaseUrl: this.#databaseUrl,
      dataDir: this.dataDir(index),
      upstream: this.#upstream,
      pages: false,
      env: { QUOTA_REQUEST_TIMEOUT_MS: String(REQUEST_TIMEOUT_MS), QUOTA_QUIET: "1", ...this.#env?.(index), ...env },
    });
    this.servers[index] = server;
    this.#started.push({ index, server });
    void server.exited.then((end) => {
      if (this.servers[index] !== server) return;
      this.servers[index] = null;
      this.problems.push(`server ${index} ended by itself with ${end}: ${server.output().stderr.slice(-500)}`);
    });
  }

  dataDir(index: number): string {
    return path.join(this.folder, `server-${index}`);
  }

  /** Removes the server from the clients' targets and returns it. */
  take(index: number): ServerProcess {
    const server = this.servers[index];
    if (server == null) throw new Error(`server ${index} is not running`);
    this.servers[index] = null;
    return server;
  }

  async kill(...indexes: number[]): Promise<void> {
    await Promise.all(indexes.map((index) => this.take(index).kill9()));
  }

  /** Runs `damage`; records a problem when no request failed or was cut off by it. */
  async disrupt(damage: () => Promise<unknown>): Promise<void> {
    const { counts } = this.#load as Load;
    const suffered = () => counts.cutOff + [...counts.refused].reduce((sum, [what, times]) => sum + (/^50[03] /.test(what) ? times : 0), 0);
    const before = suffered();
    await damage();
    if (suffered() === before) this.problems.push("the damage was not felt by any client, so nothing was tested");
  }

  /** Moves clocks by a day or more, while no Idempotency-Key is in use (see `withoutKeys`). */
  async moveFar(move: () => Promise<void>): Promise<void> {
    await (this.#load as Load).withoutKeys(move, REACHED_WITHIN_MS);
  }

  /** Sets work to run when the scenario's orphaned holds have expired. */
  afterwards(work: () => Promise<void>): void {
    this.#afterwards = work;
  }

  /** Resolves when this share of the answers has arrived. */
  async reach(share: number): Promise<void> {
    await (this.#load as Load).reach(Math.round(this.#sizes.answers * share), REACHED_WITHIN_MS);
  }

  /** Stops the load, and starts servers that a failed scenario left stopped. */
  async close(): Promise<void> {
    await this.#load?.stop();
    for (const [index, server] of this.servers.entries()) if (server === null) await this.start(index);
  }

  /** Waits until nothing is on hold, and matches all answers with the books. */
  async audit(name: string): Promise<Result> {
    const load = this.#load as Load;
    const deadline = performance.now() + ORPHANS_RETURNED_WITHIN_MS + (this.#afterwards === undefined ? 0 : PROVED_WITHIN_MS);
    const left = () => Math.max(deadline - performance.now(), 0);
    const report = async (): Promise<Findings> => {
      if (!(await load.settled(left()))) this.problems.push("a request with an Idempotency-Key never got its answer");
      if (this.#databaseUrl === undefined) {
        await pause(500);
        // Only one process may open the embedded database, so the server is stopped first.
        const end = await this.take(0).stop();
        if (end !== 0) this.problems.push(`the server ended with ${end} when it was told to stop`);
        return this.#withDatabase((db) => audit(db, load.stories));
      }
      const afterwards = this.#afterwards;
      if (afterwards !== undefined)
        setTimeout(() => void afterwards().catch((error) => this.problems.push(String(error))), ORPHANS_RETURNED_WITHIN_MS - 40_000);
      return this.#withDatabase(async (db) => {
        while (left() > 0 && (await db.withoutTimeLimit((sql) => verify(sql))).openHolds > 0) await pause(1_000);
        return audit(db, load.stories);
      });
    };
    const findings = await report();
    return { name, findings, counts: load.counts, problems: this.problems, seconds: (performance.now() - this.#startedAt) / 1_000 };
  }

  /** Stops everything that the scenario started. `keep` leaves the records of clients and servers, and prints their folder. */
  async end({ keep }: { keep: boolean }): Promise<void> {
    await this.#load?.stop();
    await this.#load?.settled(0);
    for (const [index, server] of this.servers.entries()) {
      this.servers[index] = null;
      if (server !== null) await server.kill9();
    }
    if (keep) {
      for (const [time, { index, server }] of this.#started.entries())
        await writeFile(path.join(this.folder, `server-${index}-start-${time}.log`), server.output().stdout + server.output().stderr);
      console.error(`What clients and servers wrote is in ${this.folder}.`);
    } else await rm(this.folder, { recursive: true, force: true });
    for (const clean of this.#cleanings.reverse()) await clean().catch((error: unknown) => console.error(error));
  }

  async #withDatabase<T>(work: (db: Database) => Promise<T>): Promise<T> {
    const db = await openDatabase({ url: this.#databaseUrl, dataDir: path.join(this.dataDir(0), "db") });
    try {
      return await work(db);
    } finally {
      await db.close();
    }
  }
}

/** Sends SIGSTOP or SIGCONT to all processes of a PostgreSQL server; repeats until no new process appears. */
export function signalAll(cluster: Cluster, signal: "SIGSTOP" | "SIGCONT"): void {
  const told = new Set<number>();
  for (let again = true; again; ) {
    const pids = postgresPids(cluster.dataDir).filter((pid) => !told.has(pid));
    for (const pid of pids) {
      told.add(pid);
      try {
        process.kill(pid, signal);
      } catch {
        // The process has ended.
      }
    }
    again = pids.length > 0;
  }
}

/** Starts a crashed server; retries, because processes of the crash may hold its shared memory for a moment. */
export async function startAgain(cluster: Cluster, settings: readonly string[], env: Record<string, string> = {}): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await cluster.start(settings, env);
    } catch (error) {
      if (attempt === 20) throw error;
      await pause(500);
    }
  }
}
