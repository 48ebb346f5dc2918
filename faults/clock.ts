import { existsSync, readdirSync } from "node:fs";
import { chmod, rename, writeFile } from "node:fs/promises";
import path from "node:path";

/** A wall clock that processes can be given, and that can be moved while they run. */
export type Clock = {
  /** For the environment of a process that is to live by it. */
  env: Record<string, string>;
  /** How far it is ahead of the real one, in seconds; below 0: behind. Takes effect at once. */
  set(aheadSeconds: number): Promise<void>;
};

/** libfaketime's library for programs with threads, or null where it is not installed. */
export function fakeTimeLibrary(): string | null {
  const folders = ["/usr/lib", "/usr/lib64", "/usr/local/lib"].filter(existsSync);
  for (const folder of folders.flatMap((each) => [each, ...readdirSync(each).map((name) => path.join(each, name))])) {
    const library = path.join(folder, "faketime", "libfaketimeMT.so.1");
    if (existsSync(library)) return library;
  }
  return null;
}

/** Timers go on as they did: what moves is the clock on the wall, as by an administrator or a time server. */
export async function makeClock(library: string, folder: string, name: string, aheadSeconds: number): Promise<Clock> {
  const file = path.join(folder, `clock-${name}`);
  const set = async (aheadSeconds: number) => {
    await writeFile(`${file}.new`, `${aheadSeconds < 0 ? "" : "+"}${aheadSeconds}\n`);
    await chmod(`${file}.new`, 0o644);
    // Whoever reads it finds the old time or the new one, and never half of it.
    await rename(`${file}.new`, file);
  };
  await set(aheadSeconds);
  return {
    env: {
      LD_PRELOAD: library,
      FAKETIME_TIMESTAMP_FILE: file,
      // PostgreSQL's processes would each notice a move when they next look, some much later than others.
      FAKETIME_NO_CACHE: "1",
      FAKETIME_DONT_FAKE_MONOTONIC: "1",
      FAKETIME_DONT_RESET: "1",
    },
    set,
  };
}

export function secondsToMonthsEnd(now: Date): number {
  return Math.ceil((Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1, 1) - now.getTime()) / 1_000);
}
