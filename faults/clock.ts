import { existsSync, readdirSync } from "node:fs";
import { chmod, rename, writeFile } from "node:fs/promises";
import path from "node:path";

/** A wall clock for processes, which can be moved while they run. */
export type Clock = {
  /** The environment of a process that uses the clock. */
  env: Record<string, string>;
  /** Sets how far the clock is ahead of real time, in seconds; negative is behind. Takes effect at once. */
  set(aheadSeconds: number): Promise<void>;
};

/** The path of libfaketime's library for multi-threaded programs; null when it is not installed. */
export function fakeTimeLibrary(): string | null {
  const folders = ["/usr/lib", "/usr/lib64", "/usr/local/lib"].filter(existsSync);
  for (const folder of folders.flatMap((each) => [each, ...readdirSync(each).map((name) => path.join(each, name))])) {
    const library = path.join(folder, "faketime", "libfaketimeMT.so.1");
    if (existsSync(library)) return library;
  }
  return null;
}

/** Monotonic timers are not changed: only the wall clock moves, as when an administrator or NTP sets it. */
export async function makeClock(library: string, folder: string, name: string, aheadSeconds: number): Promise<Clock> {
  const file = path.join(folder, `clock-${name}`);
  const set = async (aheadSeconds: number) => {
    await writeFile(`${file}.new`, `${aheadSeconds < 0 ? "" : "+"}${aheadSeconds}\n`);
    await chmod(`${file}.new`, 0o644);
    // Renamed into place, so that a reader gets the old time or the new one, never a part.
    await rename(`${file}.new`, file);
  };
  await set(aheadSeconds);
  return {
    env: {
      LD_PRELOAD: library,
      FAKETIME_TIMESTAMP_FILE: file,
      // Without a cache, because PostgreSQL's processes would notice a move at different times.
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
