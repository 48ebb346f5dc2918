import { execFileSync } from "node:child_process";
import { constants } from "node:fs";
import { appendFile, chown, cp, mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import pg from "pg";
import { postgresHome } from "../src/testing/postgres-binaries.ts";
import { type Cluster, cluster as clusterOn, createCluster, freePort } from "../src/testing/postgres-cluster.ts";
import { startServer } from "../src/testing/server-process.ts";
import { fakeTimeLibrary, makeClock, secondsToMonthsEnd } from "./clock.ts";
import { startProxy } from "./proxy.ts";
import { type Stage, signalAll, startAgain } from "./stage.ts";
import { pause } from "./world.ts";

export type Scenario = {
  name: string;
  title: string;
  /** Why the scenario cannot run on this machine; null when it can. */
  missing?: () => string | null;
  /** Starts servers and load, causes the fault, and repairs everything. */
  play(stage: Stage): Promise<void>;
};

const ORDINARY = ["-c", "max_connections=100", "-c", "shared_buffers=128MB"];

async function openCluster(stage: Stage, settings: readonly string[] = ORDINARY, env: Record<string, string> = {}): Promise<Cluster> {
  const made = await createCluster();
  stage.onEnd(() => made.remove());
  await made.start(settings, env);
  return made;
}

async function query(url: string, text: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000 });
  client.on("error", () => {});
  await client.connect();
  try {
    return (await client.query(text)).rows;
  } finally {
    await client.end().catch(() => {});
  }
}

const noFakeTime = () => (fakeTimeLibrary() === null ? "libfaketime is not installed (Debian: apt-get install faketime)" : null);

export const scenarios: readonly Scenario[] = [
  {
    name: "process",
    title: "kill -9 of one of QUOTA_PROCESSES",
    async play(stage) {
      const made = await openCluster(stage);
      await stage.open({ databaseUrl: made.url, env: () => ({ QUOTA_PROCESSES: "2" }) });
      for (const share of [0.2, 0.4, 0.6, 0.8]) {
        await stage.reach(share);
        for (const server of stage.servers) {
          const [worker] = execFileSync("pgrep", ["-P", String(server?.pid)], { encoding: "utf8" }).split("\n");
          process.kill(Number(worker), "SIGKILL");
        }
      }
      await stage.reach(1);
    },
  },
  {
    name: "server",
    title: "kill -9 of a server",
    async play(stage) {
      const made = await openCluster(stage);
      await stage.open({ databaseUrl: made.url });
      for (const [share, index] of [
        [0.25, 0],
        [0.5, 1],
        [0.75, 0],
      ] as const) {
        await stage.reach(share);
        await stage.kill(index);
        await stage.start(index);
      }
      await stage.reach(1);
    },
  },
  {
    name: "sigterm",
    title: "SIGTERM with streams open",
    async play(stage) {
      const made = await openCluster(stage);
      await stage.open({ databaseUrl: made.url });
      for (const [share, index] of [
        [0.25, 0],
        [0.5, 1],
        [0.75, 0],
      ] as const) {
        await stage.reach(share);
        const end = await stage.take(index).stop();
        if (end !== 0) stage.problems.push(`a server that was told to stop ended with ${end}`);
        await stage.start(index);
      }
      await stage.reach(1);
    },
  },
  ...(["SIGQUIT", "SIGKILL"] as const).map(
    (signal): Scenario => ({
      name: signal === "SIGQUIT" ? "postgres-immediate" : "postgres-killed",
      title: signal === "SIGQUIT" ? "PostgreSQL: immediate shutdown" : "PostgreSQL: kill -9 of the postmaster",
      async play(stage) {
        const made = await openCluster(stage);
        await stage.open({ databaseUrl: made.url });
        for (const share of [0.3, 0.6]) {
          await stage.reach(share);
          await stage.disrupt(async () => {
            await made.end(signal);
            await pause(1_000);
            await startAgain(made, ORDINARY);
          });
        }
        await stage.reach(1);
      },
    }),
  ),
  {
    name: "backend",
    title: "PostgreSQL: kill -9 of a backend, which ends all connections",
    async play(stage) {
      const made = await openCluster(stage);
      await stage.open({ databaseUrl: made.url });
      for (const share of [0.3, 0.6]) {
        await stage.reach(share);
        const [backend] = await query(made.url, "SELECT pid FROM pg_stat_activity WHERE application_name = 'quota' LIMIT 1");
        process.kill(Number(backend?.pid), "SIGKILL");
      }
      await stage.reach(1);
    },
  },
  {
    name: "silence",
    title: "PostgreSQL stopped for 20 s (SIGSTOP)",
    async play(stage) {
      const made = await openCluster(stage);
      await stage.open({ databaseUrl: made.url });
      await stage.reach(0.5);
      signalAll(made, "SIGSTOP");
      await pause(20_000);
      signalAll(made, "SIGCONT");
      await stage.reach(1);
    },
  },
  {
    name: "silence-killed",
    title: "PostgreSQL stopped for 15 s, and both servers killed (-9) in it",
    async play(stage) {
      const made = await openCluster(stage);
      await stage.open({ databaseUrl: made.url });
      await stage.reach(0.5);
      signalAll(made, "SIGSTOP");
      // Longer than an answer waits for its settlement.
      await pause(13_000);
      await stage.kill(0, 1);
      await pause(2_000);
      signalAll(made, "SIGCONT");
      await Promise.all([stage.start(0), stage.start(1)]);
      await stage.reach(1);
    },
  },
  {
    name: "failover",
    title: "a synchronous replica promoted after kill -9 of the primary",
    async play(stage) {
      const primary = await createCluster();
      stage.onEnd(() => primary.remove());
      const home = await postgresHome();
      const replica = clusterOn(home, path.join(home.folder, "data"), await freePort());
      stage.onEnd(() => replica.remove());
      await cp(primary.dataDir, replica.dataDir, { recursive: true, mode: constants.COPYFILE_FICLONE });
      await writeFile(path.join(replica.dataDir, "standby.signal"), "");
      await appendFile(
        path.join(replica.dataDir, "postgresql.auto.conf"),
        `primary_conninfo = 'host=127.0.0.1 port=${primary.port} user=postgres password=postgres application_name=replica'\n`,
      );
      const { uid, gid } = home.as;
      if (uid !== undefined) execFileSync("chown", ["-R", `${uid}:${gid}`, replica.dataDir]);
      await primary.start([...ORDINARY, "-c", "synchronous_standby_names=replica"]);
      await replica.start(ORDINARY);
      const proxy = await startProxy(primary.port);
      stage.onEnd(() => proxy.close());
      const address = new URL(primary.url);
      address.port = String(proxy.port);
      await stage.open({ databaseUrl: address.href });
      await stage.reach(0.5);
      await primary.end("SIGKILL");
      proxy.pointTo(null);
      const [promoted] = await query(replica.url, "SELECT pg_promote(true, 60) AS done");
      if (promoted?.done !== true) throw new Error("the replica was not promoted");
      proxy.pointTo(replica.port);
      await stage.reach(1);
    },
  },
  {
    name: "connections",
    title: "all connections of PostgreSQL used up for 15 s",
    async play(stage) {
      const made = await openCluster(stage, ["-c", "max_connections=40", "-c", "shared_buffers=128MB"]);
      await stage.open({ databaseUrl: made.url });
      await stage.reach(0.4);
      const hogs: pg.Client[] = [];
      await stage.disrupt(async () => {
        const deadline = performance.now() + 15_000;
        while (performance.now() < deadline) {
          const hog = new pg.Client({ connectionString: made.url, connectionTimeoutMillis: 2_000 });
          hog.on("error", () => {});
          try {
            await hog.connect();
            hogs.push(hog);
            await hogs[0]?.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'quota'");
          } catch {
            await pause(50);
          }
        }
      });
      await Promise.all(hogs.map((hog) => hog.end().catch(() => {})));
      await stage.reach(1);
    },
  },
  {
    name: "disk-full",
    title: "the database's disk full for 10 s",
    missing: () =>
      process.platform === "linux" && process.getuid?.() === 0 && mayMount() ? null : "only root may mount a file system of its own",
    async play(stage) {
      const home = await postgresHome();
      const disk = path.join(home.folder, "disk");
      await mkdir(disk);
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=400m,mode=0700", "tmpfs", disk]);
      const unmount = () => void execFileSync("umount", ["--lazy", disk]);
      process.once("exit", unmount);
      if (home.as.uid !== undefined) await chown(disk, home.as.uid, home.as.gid as number);
      const made = await createCluster({ home, dataDir: path.join(disk, "data") });
      stage.onEnd(async () => {
        await made.end();
        process.off("exit", unmount);
        unmount();
        await made.remove();
      });
      const settings = [...ORDINARY, "-c", "max_wal_size=64MB", "-c", "min_wal_size=32MB"];
      await made.start(settings);
      await stage.open({ databaseUrl: made.url });
      for (const share of [0.3, 0.6]) {
        await stage.reach(share);
        const filler = path.join(disk, "filler");
        try {
          execFileSync("dd", ["if=/dev/zero", `of=${filler}`, "bs=64k"], { stdio: "ignore" });
        } catch {
          // The write fails when the disk is full.
        }
        await stage.disrupt(() => pause(10_000));
        execFileSync("rm", [filler]);
        // PostgreSQL stops when it cannot write its log.
        if (made.pid() === undefined) await startAgain(made, settings);
      }
      await stage.reach(1);
    },
  },
  {
    name: "clock-all",
    title: "all clocks moved before a month's end: an hour ahead and back, a day, a month",
    missing: noFakeTime,
    play: (stage) => moveClocks(stage, { postgres: true, servers: [0, 1] }),
  },
  {
    name: "clock-server",
    title: "one server's clock moved before a month's end: an hour ahead and back, a day",
    missing: noFakeTime,
    play: (stage) => moveClocks(stage, { postgres: false, servers: [0] }),
  },
  {
    name: "clock-postgres",
    title: "PostgreSQL's clock moved before a month's end: an hour ahead and back, a day",
    missing: noFakeTime,
    play: (stage) => moveClocks(stage, { postgres: true, servers: [] }),
  },
  {
    name: "embedded-killed",
    title: "embedded database: kill -9 of the server",
    async play(stage) {
      await stage.open();
      for (const share of [0.25, 0.5, 0.75]) {
        await stage.reach(share);
        await stage.kill(0);
        await stage.start(0);
      }
      await stage.reach(1);
    },
  },
  {
    name: "embedded-stopped",
    title: "embedded database: stopped for 15 s, a second start in that time, and continued",
    async play(stage) {
      await stage.open();
      await stage.reach(0.5);
      const pid = stage.servers[0]?.pid as number;
      process.kill(pid, "SIGSTOP");
      await pause(11_000);
      const second = await startServer({ dataDir: stage.dataDir(0), pages: false }).catch(() => null);
      process.kill(pid, "SIGCONT");
      if (second !== null) {
        stage.problems.push("a second server was let into the folder of one that was stopped");
        await second.kill9();
      } else await pause(4_000);
      await stage.reach(1);
    },
  },
];

/**
 * Begins shortly before the end of a month. Moves these clocks under load, and kills a server after
 * each move, so that its next start is at the new time; the other clocks stay.
 */
async function moveClocks(stage: Stage, who: { postgres: boolean; servers: readonly number[] }): Promise<void> {
  const home = await postgresHome();
  const library = fakeTimeLibrary() as string;
  const start = secondsToMonthsEnd(new Date()) - BEFORE_MONTHS_END_S;
  const steady = await makeClock(library, home.folder, "steady", start);
  const moved = await makeClock(library, home.folder, "moved", start);
  const made = await createCluster({ home });
  stage.onEnd(() => made.remove());
  await made.start(ORDINARY, (who.postgres ? moved : steady).env);
  await stage.open({ databaseUrl: made.url, env: (index) => (who.servers.includes(index) ? moved : steady).env });
  const together = who.postgres && who.servers.length > 0;
  const moves = [HOUR_S, 0, DAY_S, ...(together ? [31 * DAY_S] : [])];
  for (const [index, ahead] of moves.entries()) {
    await stage.reach((index + 1) / (moves.length + 2));
    const move = async () => {
      await moved.set(start + ahead);
      await pause(500);
    };
    await (ahead === HOUR_S ? move() : stage.moveFar(move));
    await stage.reach((index + 1.5) / (moves.length + 2));
    const killed = index % 2;
    await stage.kill(killed);
    await stage.start(killed);
  }
  await stage.reach(1);
  // Holds of servers whose clocks are behind the database's are returned by the daily proof.
  if (who.postgres && !together) stage.afterwards(() => moved.set(start + 2 * DAY_S + HOUR_S));
}

const HOUR_S = 3_600;
const DAY_S = 24 * HOUR_S;
/** Longer than starting the servers takes, and shorter than the first move. */
const BEFORE_MONTHS_END_S = 20 * 60;

function mayMount(): boolean {
  try {
    // In containers root may lack the right to mount.
    execFileSync("unshare", ["--mount", "true"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}
