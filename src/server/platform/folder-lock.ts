import { randomUUID } from "node:crypto";
import { mkdir, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import path from "node:path";
import { setTimeout as pause } from "node:timers/promises";

/**
 * The embedded database belongs to one process; a second one on the same files
 * would destroy them. A file beside the folder names its owner, who touches it
 * every two seconds; a file that nobody touches belongs to somebody who died.
 * A process id alone says too little: in containers every server has the same
 * one, and after a restart of the machine it may be anybody's.
 */
const TOUCHED_EVERY_MS = 2_000;
const DEAD_AFTER_MS = 10_000;

/** What this process has written into such files and still stands for, also while it looks whether it was the last to write. */
const mine = new Set<string>();

/** Takes the folder, or throws with the owner's process id. Returns how to give it back. */
export async function lockFolder(folder: string): Promise<() => void> {
  await mkdir(folder, { recursive: true });
  const file = path.resolve(`${folder}.lock`);
  const nonce = randomUUID();
  const content = JSON.stringify({ pid: process.pid, host: hostname(), nonce });
  mine.add(nonce);
  try {
    return await take(file, nonce, content);
  } catch (error) {
    mine.delete(nonce);
    throw error;
  }
}

async function take(file: string, nonce: string, content: string): Promise<() => void> {
  for (let attempt = 0; attempt < 5; attempt++) {
    try {
      await writeFile(file, content, { flag: "wx" });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      await removeDeadOwner(file);
      continue;
    }
    // Two that found the same dead owner: the file says who was last, and the other gives way.
    if (attempt > 0) await pause(100);
    if ((await readFile(file, "utf8").catch(() => "")) !== content) continue;
    const timer = setInterval(() => void utimes(file, new Date(), new Date()).catch(() => {}), TOUCHED_EVERY_MS);
    timer.unref();
    return () => {
      clearInterval(timer);
      mine.delete(nonce);
      void rm(file, { force: true });
    };
  }
  throw new Error(`The lock file ${file} changes hands all the time. Is another server starting?`);
}

async function removeDeadOwner(file: string): Promise<void> {
  let owner: { pid?: number; host?: string; nonce?: string } = {};
  let touchedAt: number;
  try {
    touchedAt = (await stat(file)).mtimeMs;
    owner = JSON.parse(await readFile(file, "utf8")) as typeof owner;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return;
    // Half written: its owner is just starting, or died while it did.
    touchedAt = Date.now();
    await pause(200);
  }
  const isHere = owner.host === hostname();
  const isDead =
    (isHere && !isRunning(owner.pid)) ||
    (isHere && owner.pid === process.pid && !mine.has(owner.nonce ?? "")) ||
    Date.now() - touchedAt > DEAD_AFTER_MS;
  if (!isDead) {
    throw new Error(
      `The embedded database beside ${file} is in use by process ${owner.pid}${isHere ? "" : ` on ${owner.host}`}. Stop that one first, or set DATABASE_URL to share a Postgres.`,
    );
  }
  // Renaming takes it away from everybody else who found the same dead owner.
  const grave = `${file}.${randomUUID()}`;
  await rename(file, grave).catch(() => {});
  await rm(grave, { force: true });
}

function isRunning(pid: number | undefined): boolean {
  if (!Number.isInteger(pid) || (pid as number) <= 0) return false;
  try {
    process.kill(pid as number, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
