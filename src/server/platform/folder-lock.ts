import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { closeSync, fstatSync, openSync, readFileSync, readlinkSync, rmSync, statSync } from "node:fs";
import { mkdir, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import path from "node:path";
import { setTimeout as pause } from "node:timers/promises";

/**
 * The embedded database belongs to one process; a second one on the same files would destroy them.
 *
 * Beside the folder are two files. `db.held` is locked by the kernel for as long as the owner lives,
 * stopped or not, and by nobody a moment after it died; processes in other containers of the same
 * machine see that too. `db.lock` names the owner, for the message and for those who can't see the
 * kernel's lock: other machines on a network share whose file system keeps locks to itself, systems for
 * which the lock's native code is not built, and versions before this one. Its owner touches it every
 * two seconds.
 *
 * So on one machine a process that lives keeps its folder however long it stands still: by the kernel's
 * lock, and without it because its process id is there and began when the file says it did. Only an
 * owner whose process can't be seen from here, on another machine or in a container without the kernel's
 * lock, is taken for dead when its file was not touched for ten seconds. Should it live after all, it
 * finds that out before its next statement, and ends.
 */
const TOUCHED_EVERY_MS = 2_000;
const DEAD_AFTER_MS = 10_000;
/** A statement that begins later than this after the last look looks again: the process may have stood still. */
const CONFIRMED_FOR_MS = 3_000;

export type FolderLock = {
  /**
   * To be called before anything is written. Looks whether the folder is still this process's own, when
   * nobody has looked for three seconds; ends the process when it is not.
   */
  confirm(): void;
  release(): void;
};

type Owner = {
  pid?: number;
  host?: string;
  nonce?: string;
  /** Which kernel it runs on, and in which space of process ids. */
  machine?: string;
  processes?: string;
  /** When it began, by that kernel's count. */
  started?: string | null;
  /** It has the kernel's lock. */
  held?: boolean;
};

/** What this process has written into such files and still stands for, also while it looks whether it was the last to write. */
const mine = new Set<string>();

/**
 * Takes the folder, or throws a sentence with the owner's process id. `lost`: what to do when it turns
 * out to be somebody else's; by default the process ends at once. `withKernel`: false leaves the
 * kernel's lock out, as where there is none.
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
      // It is gone, or a process with too many files open can't look, who has lost nothing by that.
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
      // Some clocks stand still while a machine sleeps, and others are set.
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
 * The kernel's lock on a file that stays where it is; "taken" when another process has it, null where
 * there are no such locks. It ends with the process, whichever way that ends.
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
    // Two that found the same dead owner: the file says who was last, and the other gives way.
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
      // Half written: its owner is just starting, or died while it did.
      await pause(200);
      if ((await readFile(file, "utf8")) !== text) return;
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    throw error;
  }
  if (!isDead(owner, touchedAt, held)) throw inUse(file, owner);
  // Renaming takes it away from everybody else who found the same dead owner.
  const grave = `${file}.${randomUUID()}`;
  await rename(file, grave).catch(() => {});
  await rm(grave, { force: true });
}

function isDead(owner: Owner, touchedAt: number, held: boolean): boolean {
  // A version before this one wrote no more than its host's name.
  const isHere =
    owner.machine === undefined ? owner.host === hostname() : owner.machine === machine() && owner.processes === processSpace();
  if (isHere) return !mine.has(owner.nonce ?? "") && !isAlive(owner, touchedAt);
  // Were it alive, the kernel would not have given its lock to us.
  if (held && owner.held === true && owner.machine === machine()) return true;
  return Date.now() - touchedAt > DEAD_AFTER_MS;
}

/** Whether the process that wrote the file lives. Its id may be another's by now, one that began later. */
function isAlive(owner: Owner, touchedAt: number): boolean {
  const { pid } = owner;
  // Its nonce is not ours, so a process before us had our id.
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

/** The running kernel, which all containers on it share; by name where it does not say. */
function machine(): string {
  if (process.platform !== "linux") return hostname();
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  } catch {
    return hostname();
  }
}

/** Where process ids are counted: each container has its own. */
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
  // Dead, and its parent has not asked after it.
  return !["Z", "X"].includes(procStat(pid)?.[0] ?? "");
}

/** When a process began, in a form that stays the same for as long as it lives; null where that is not known. */
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

/** The same as a moment. */
function momentOf(started: string): number | null {
  if (process.platform !== "linux") return Date.parse(started) || null;
  try {
    const uptime = Number.parseFloat(readFileSync("/proc/uptime", "utf8"));
    // In hundredths of a second since the machine began, on every Linux that Node runs on.
    return Date.now() - uptime * 1_000 + Number(started) * 10;
  } catch {
    return null;
  }
}

/** What Linux says of a process, from its state on; null where it says nothing. */
function procStat(pid: number): string[] | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    // Its name comes before, in brackets, and may have spaces and brackets in it.
    return text.slice(text.lastIndexOf(")") + 2).split(" ");
  } catch {
    return null;
  }
}
