import { readFileSync, writeFileSync } from "node:fs";

/** What a process has in memory, in MiB: now, and at most since it began or `forgetPeak` was called. NaN where /proc does not tell. */
export function memoryOf(pid: number): { now: number; peak: number } {
  let status = "";
  try {
    status = readFileSync(`/proc/${pid}/status`, "utf8");
  } catch {
    // Not Linux, or the process is gone.
  }
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(status)?.[1] ?? Number.NaN) / 1024;
  return { now: field("VmRSS"), peak: field("VmHWM") };
}

/** The next peak is counted from now on, where the system lets us. */
export function forgetPeak(pid: number): void {
  try {
    writeFileSync(`/proc/${pid}/clear_refs`, "5");
  } catch {
    // Then it is the highest there ever was.
  }
}
