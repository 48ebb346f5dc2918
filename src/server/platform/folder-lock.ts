import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { closeSync, fstatSync, openSync, readFileSync, readlinkSync, rmSync, statSync } from "node:fs";
import { mkdir, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import path from "node:path";
import { setTimeout as pause } from "node:timers/promises";

/**
 * The embedded database belongs to one process; a second process on the same files would corrupt them.
 *
 * Two files lie beside the folder. `db.held` carries an OS file lock, which the kernel keeps for as long
 * as the owner lives, stopped or not, and releases when the owner dies; containers on the same machine
 * share it. `db.lock` names the owner, for error messages and for processes that cannot see the file
 * lock: other machines on a network share whose file system does not share locks, systems without a
 * build of the native code for locks, and versions of Quota before the file lock. The owner sets
 * the time of `db.lock` every two seconds.
 *
 * On one machine a living owner keeps its folder however long it is stopped: by the file lock, or,
 * without it, because a process with its id and start time exists. An owner whose process cannot be
 * seen from here (on another machine, or in a container without the file lock) counts as dead when
 * `db.lock` is ten seconds old. When such an owner was only stopped, it finds another owner in
 * `db.lock` before its next statement, and exits.
 */
const TOUCHED_EVERY_MS = 2_000;
const DEAD_AFTER_MS = 10_000;
/** A statement that begins this long after the last check checks again: the process may have been stopped in between. */
const CONFIRMED_FOR_MS = 3_000;

export type FolderLock = {
  /**
   * Call this before each write. When the last check is three seconds old, checks that the folder is
   * still this process's; when it is not, calls `lost`, which by default ends the process.
   */
  confirm(): void;
  release(): void;
};

type Owner = {
  pid?: number;
  host?: string;
  nonce?: string;
  /** The kernel's boot id, and the pid namespace. */
  machine?: string;
  processes?: string;
  /** The process's start time as the kernel reports it. */
  started?: string | null;
  /** Whether the owner has the OS file lock. */
  held?: boolean;
};

/** Nonces of the locks that this process has or is about to take. */
const mine = new Set<string>();

/**
 * Takes the folder's lock, or throws an error that names the owner's process id. `lost` is called when
 * another process has taken the folder; by default it ends this process. `withKernel`: false does
 * without the OS file lock.
 */
export async function lockFolder(
  folder: string,
  { lost = endProcess, withKernel = true }: { lost?: (why: string) => void; withKernel?: boolean } = {},
): Promise<FolderLock> {
  await mkdir(folder, { recursive: true });
  const file = path.resolve(`${folder}.lock`);
  const held = withKernel ? await kernelLock(path.resolve(`${folder}.held`)) : null;
  if (held === "taken") throw inUse(file, read(await readFile(file, "utf8").catch(() => "")));
  const nonce = randomUUID();
  const owner: Owner = {
    pid: process.pid,
    host: hostname(),
    nonce,
    machine: machine(),
    processes: processSpace(),
    started: startOf(process.pid),
    held: held !== null,
  };
  const content = JSON.stringify(owner);
  mine.add(nonce);
  try {
    await take(file, content, held !== null);
  } catch (error) {
    mine.delete(nonce);
    held?.release();
    throw error;
  }

  let [confirmedAt, wallAt] = [performance.now(), Date.now()];
  let given = false;
  const isMine = () => {
    try {
      return readFileSync(file, "utf8") === content && (held === null || held.isMine());
    } catch (error) {
      // The file is gone; or the process has no file descriptor left for reading it, and then the lock counts as held.
      return ["EMFILE", "ENFILE"].includes((error as NodeJS.ErrnoException).code ?? "");
    }
  };
  const look = () => {
    if (given) return;
    if (isMine()) [confirmedAt, wallAt] = [performance.now(), Date.now()];
    else {
      clearInterval(timer);
      lost(
        `The embedded database in ${path.resolve(folder)} is not this process's any more: ${file} was removed, or another process took it while this one stood still. This one ends before it writes.`,
      );
    }
  };
  const timer = setInterval(() => {
    look();
    void utimes(file, new Date(), new Date()).catch(() => {});
  }, TOUCHED_EVERY_MS);
  timer.unref();
  return {
    confirm() {
      // A monotonic clock may stop while the machine sleeps, and the wall clock may be set: the larger difference counts.
      const since = Math.max(performance.now() - confirmedAt, Math.abs(Date.now() - wallAt));
      if (since > CONFIRMED_FOR_MS) look();
    },
    release() {
      if (given) return;
      clearInterval(timer);
      if (isMine()) rmSync(file, { force: true });
      given = true;
      mine.delete(nonce);
      held?.release();
    },
  };
}

function endProcess(why: string): void {
  console.error(why);
  process.exit(1);
}

type Held = { isMine(): boolean; release(): void };

/**
 * An OS lock on `file`, which is never removed; "taken" when another process has it, null where file
 * locks do not work. The kernel releases it when the process ends in any way.
 */
async function kernelLock(file: string): Promise<Held | "taken" | null> {
  let tryLock: (fd: number) => boolean;
  try {
    ({ tryLock } = await import("fs-native-extensions"));
  } catch {
    return null;
  }
  const fd = openSync(file, "a+");
  try {
    if (!tryLock(fd)) {
      closeSync(fd);
      return "taken";
    }
  } catch {
    closeSync(fd);
    return null;
  }
  return {
    isMine: () => {
      const [opened, there] = [fstatSync(fd, { bigint: true }), statSync(file, { bigint: true })];
      return opened.ino === there.ino && opened.dev === there.dev;
    },
    release: () => closeSync(fd),
  };
}

async function take(file: string, content: string, held: boolean): Promise<void> {
  for (let attempt = 0; attempt < 5; attempt++) {
    try {
      await writeFile(file, content, { flag: "wx" });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      await removeDeadOwner(file, held);
      continue;
    }
    // Two processes may have removed the same dead owner: the later write counts, and the earlier writer retries.
    if (attempt > 0) await pause(100);
    if ((await readFile(file, "utf8").catch(() => "")) === content) return;
  }
  throw new Error(`The lock file ${file} changes hands all the time. Is another server starting?`);
}

async function removeDeadOwner(file: string, held: boolean): Promise<void> {
  let owner: Owner;
  let touchedAt: number;
  try {
    touchedAt = (await stat(file)).mtimeMs;
    const text = await readFile(file, "utf8");
    owner = read(text);
    if (Object.keys(owner).length === 0 && Date.now() - touchedAt < DEAD_AFTER_MS) {
      // A half-written file: its owner is starting, or died while it wrote.
      await pause(200);
      if ((await readFile(file, "utf8")) !== text) return;
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw error;
  }
  if (!isDead(owner, touchedAt, held)) throw inUse(file, owner);
  // Only one of several processes that found the same dead owner can rename its file.
  const renamed = `${file}.${randomUUID()}`;
  await rename(file, renamed).catch(() => {});
  await rm(renamed, { force: true });
}

function isDead(owner: Owner, touchedAt: number, held: boolean): boolean {
  // Versions before the OS file lock wrote only the host's name.
  const isHere =
    owner.machine === undefined ? owner.host === hostname() : owner.machine === machine() && owner.processes === processSpace();
  if (isHere) return !mine.has(owner.nonce ?? "") && !isAlive(owner, touchedAt);
  // The kernel would not have granted the lock to this process while that owner lives.
  if (held && owner.held === true && owner.machine === machine()) return true;
  return Date.now() - touchedAt > DEAD_AFTER_MS;
}

/** Whether the process that wrote the file lives. Its id may have been reused by a process that began later. */
function isAlive(owner: Owner, touchedAt: number): boolean {
  const { pid } = owner;
  // The nonce is not ours, so an earlier process had our process id.
  if (pid === undefined || pid === process.pid || !isRunning(pid)) return false;
  const started = startOf(pid);
  if (started === null) return true;
  if (owner.started !== undefined && owner.started !== null) return owner.started === started;
  const startedAt = momentOf(started);
  return startedAt === null || startedAt <= touchedAt + 2_000;
}

function inUse(file: string, { pid, host, machine: where }: Owner): Error {
  const elsewhere = host !== undefined && (where === undefined ? host !== hostname() : where !== machine() || host !== hostname());
  return new Error(
    `The embedded database beside ${file} is in use by process ${pid ?? "(unknown)"}${elsewhere ? ` on ${host}` : ""}: stop that one first, or set DATABASE_URL to share a Postgres.`,
  );
}

function read(text: string): Owner {
  try {
    const owner: unknown = JSON.parse(text);
    return typeof owner === "object" && owner !== null ? owner : {};
  } catch {
    return {};
  }
}

/** The running kernel's boot id, which all containers on it share; the host's name where there is none. */
function machine(): string {
  if (process.platform !== "linux") return hostname();
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  } catch {
    return hostname();
  }
}

/** The pid namespace: each container has its own. */
function processSpace(): string {
  if (process.platform !== "linux") return "";
  try {
    return readlinkSync("/proc/self/ns/pid");
  } catch {
    return hostname();
  }
}

function isRunning(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EPERM") return false;
  }
  // A zombie: dead, and its parent has not waited for it.
  return !["Z", "X"].includes(procStat(pid)?.[0] ?? "");
}

/** The process's start time, in a form that does not change while it lives; null where it is not known. */
function startOf(pid: number): string | null {
  if (process.platform === "linux") return procStat(pid)?.[19] ?? null;
  if (process.platform === "win32") return null;
  try {
    return execFileSync("ps", ["-o", "lstart=", "-p", String(pid)], {
      encoding: "utf8",
      timeout: 2_000,
      env: { ...process.env, LC_ALL: "C" },
    }).trim();
  } catch {
    return null;
  }
}

/** A start time of `startOf` in milliseconds since 1970; null where it is not known. */
function momentOf(started: string): number | null {
  if (process.platform !== "linux") return Date.parse(started) || null;
  try {
    const uptime = Number.parseFloat(readFileSync("/proc/uptime", "utf8"));
    // In hundredths of a second since boot (USER_HZ is 100 on every Linux that Node runs on).
    return Date.now() - uptime * 1_000 + Number(started) * 10;
  } catch {
    return null;
  }
}

/** The fields of /proc/<pid>/stat from the state on; null when the process does not exist. */
function procStat(pid: number): string[] | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The process's name comes before, in brackets, and may contain spaces and brackets.
    return text.slice(text.lastIndexOf(")") + 2).split(" ");
  } catch {
    return null;
  }
}
