import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { chmod, mkdir, mkdtemp, readFile, rm, stat, utimes, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import path from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { openDatabase } from "./db.ts";
import { type FolderLock, lockFolder } from "./folder-lock.ts";

let parent = "";
let folder = "";
const children: ChildProcess[] = [];
const locks: FolderLock[] = [];
beforeEach(async () => {
  parent = await mkdtemp(path.join(tmpdir(), "quota-lock-"));
  folder = path.join(parent, "db");
});
afterEach(async () => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  for (const lock of locks.splice(0)) lock.release();
  for (const child of children.splice(0)) child.kill("SIGKILL");
  await rm(parent, { recursive: true, force: true });
});

const owned = (owner: object) => writeFile(`${folder}.lock`, JSON.stringify(owner));
const LONG_AGO = new Date(Date.now() - 600_000);
const untouched = () => utimes(`${folder}.lock`, LONG_AGO, LONG_AGO);

async function take(options: Parameters<typeof lockFolder>[1] = {}): Promise<FolderLock> {
  const lock = await lockFolder(folder, options);
  locks.push(lock);
  return lock;
}

/** Another process that has the folder. */
async function owner(kind: "kernel" | "files") {
  const child = spawn(process.execPath, [fileURLToPath(new URL("../../testing/folder-owner.ts", import.meta.url)), folder, kind], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  children.push(child);
  const [said] = (await once(child.stdout, "data")) as [Buffer];
  expect(String(said).trim()).toBe("owned");
  const exited = once(child, "exit");
  const stopped = async () => {
    child.kill("SIGSTOP");
    // The signal is delivered when Linux shows the process as stopped.
    if (process.platform === "linux")
      await expect.poll(async () => / T /.test(await readFile(`/proc/${child.pid}/stat`, "utf8"))).toBe(true);
  };
  return { child, pid: child.pid as number, exited, stopped };
}

/** What `db.lock` contains when a process of this machine wrote it. */
async function ownRecord(): Promise<Record<string, unknown>> {
  const lock = await lockFolder(folder);
  const record = JSON.parse(await readFile(`${folder}.lock`, "utf8")) as Record<string, unknown>;
  lock.release();
  return record;
}

describe.each(["kernel", "files"] as const)("with locks of the %s", (kind) => {
  const options = { withKernel: kind === "kernel" };

  test("a folder has one owner at a time, and is free again after its owner released it", async () => {
    const lock = await take(options);
    await expect(take(options)).rejects.toThrow(`in use by process ${process.pid}`);
    lock.release();
    expect(existsSync(`${folder}.lock`)).toBe(false);
    await take(options);
  });

  test("a stopped process keeps its folder, however old its file is, and still has it when it continues", async () => {
    const { child, pid, stopped } = await owner(kind);
    await stopped();
    await untouched();
    await expect(take(options)).rejects.toThrow(`in use by process ${pid}`);
    child.kill("SIGCONT");
    // The owner touches the file again, and keeps the folder.
    await expect.poll(async () => Number(await readFile(`${folder}.lock`, "utf8").then((record) => JSON.parse(record).pid))).toBe(pid);
    await expect(take(options)).rejects.toThrow(`in use by process ${pid}`);
  });

  test("the folder of a process that was killed is free at once", async () => {
    const { child, exited, stopped } = await owner(kind);
    await stopped();
    child.kill("SIGKILL");
    await exited;
    await take(options);
  });

  test("of several processes that find a dead owner, one gets the folder", async () => {
    await owned({ pid: 2_147_483_646, host: hostname(), nonce: "x" });
    const outcomes = await Promise.allSettled(Array.from({ length: 8 }, () => take(options)));
    expect(outcomes.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  });

  test("an owner whose lock another process took is told so before its next statement, once", async () => {
    const lost = vi.fn();
    const lock = await take({ ...options, lost });
    await owned({ pid: 1, host: "another", nonce: "x" });
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 2_000 });
    lock.confirm();
    expect(lost).not.toHaveBeenCalled();
    // As if the process had been stopped for longer than the time between two touches.
    vi.setSystemTime(Date.now() + 5_000);
    lock.confirm();
    expect(lost).toHaveBeenCalledExactlyOnceWith(expect.stringContaining("is not this process's any more"));
    lock.release();
    // release() leaves the other owner's file alone.
    expect(JSON.parse(await readFile(`${folder}.lock`, "utf8"))).toMatchObject({ nonce: "x" });
  });
});

test("an owner loses the folder when the file of the kernel's lock is removed", async () => {
  const lost = vi.fn();
  const lock = await take({ lost });
  await rm(`${folder}.held`);
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 60_000 });
  lock.confirm();
  expect(lost).toHaveBeenCalledOnce();
});

test("an owner in another container of this machine is dead when the kernel's lock is free, and not before", async () => {
  await owned({ ...(await ownRecord()), processes: "pid:[1]", nonce: "x", pid: 1 });
  await take();
});

test.each([
  ["on another machine", { machine: "another kernel", host: "elsewhere" }],
  ["in another container that has no lock of the kernel", { processes: "pid:[1]", held: false }],
])("an owner %s keeps its folder while it touches the file", async (_, differs) => {
  await owned({ ...(await ownRecord()), nonce: "x", ...differs });
  await expect(take()).rejects.toThrow("in use by process");
  await untouched();
  await take();
});

test("a process id that was reused by another process does not keep the folder", async () => {
  await owned({ ...(await ownRecord()), nonce: "x", pid: process.ppid, started: "long ago" });
  await take();
});

test("an owner that wrote no start time keeps its folder while its process lives, and loses it when the process with its id began later", async () => {
  const { child, pid } = await owner("files");
  await owned({ pid, host: hostname(), nonce: "x" });
  await expect(take()).rejects.toThrow(`in use by process ${pid}`);
  await untouched();
  await take();
  child.kill();
});

test.skipIf(process.platform === "win32").each([
  ["a new database", async () => {}],
  [
    "one that was left open to others",
    async () => {
      await mkdir(folder);
      await chmod(folder, 0o755);
    },
  ],
])("only its owner may enter the folder of %s", async (_, before) => {
  await before();
  const db = await openDatabase({ dataDir: folder });
  expect((await stat(folder)).mode & 0o777).toBe(0o700);
  await db.close();
});

test("a process that lost its folder ends at its next statement, and the statement changes nothing", async () => {
  const said = vi.spyOn(console, "error").mockImplementation(() => {});
  const exit = vi.spyOn(process, "exit").mockImplementation((code) => {
    throw new Error(`exit ${code}`);
  });
  const db = await openDatabase({ dataDir: folder });
  await db.prisma.$executeRawUnsafe(`CREATE TABLE written (id int)`);
  const record = await readFile(`${folder}.lock`, "utf8");
  await owned({ pid: 1, host: "another", nonce: "x" });
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 60_000 });
  await expect(db.sql.query({ name: "", text: `INSERT INTO written VALUES (1)` }, [])).rejects.toThrow("exit 1");
  expect(exit).toHaveBeenCalledWith(1);
  expect(said).toHaveBeenCalledWith(expect.stringMatching(/is not this process's any more.*ends before it writes/));
  // Restores the record, so that the table can be read.
  await writeFile(`${folder}.lock`, record);
  expect(await db.sql.query({ name: "", text: `SELECT count(*)::int AS written FROM written` }, [])).toEqual([{ written: 0 }]);
  await db.close();
});

test.each([
  ["ledger:verify", "../ledger/verify-command.ts", 2, "The books could not be proved"],
  ["ledger:mend-dates", "../ledger/mend-dates-command.ts", 2, "The dates could not be put right"],
  ["usage:refold", "../usage/refold-command.ts", 2, "The sums of usage could not be made anew"],
  ["oauth:rotate-keys", "../connect/rotate-keys-command.ts", 1, "The keys could not be rotated"],
])(
  "%s fails with one sentence that names the process that has the folder, also when that process is stopped",
  async (_, command, code, sentence) => {
    const { pid, stopped } = await owner("kernel");
    await stopped();
    await untouched();
    const child = spawn(process.execPath, [fileURLToPath(new URL(command, import.meta.url))], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { PATH: process.env.PATH, NODE_ENV: "test", QUOTA_DATA_DIR: parent },
    });
    const exited = once(child, "exit");
    const [out, errors] = await Promise.all([text(child.stdout), text(child.stderr)]);
    expect((await exited)[0]).toBe(code);
    expect(out).toBe("");
    expect(errors.trim()).toBe(
      `${sentence}: The embedded database beside ${folder}.lock is in use by process ${pid}: stop that one first, or set DATABASE_URL to share a Postgres.`,
    );
  },
);
