import { readFileSync, writeFileSync } from "node:fs";

/** Resident memory of a process in MiB: now, and at most since it began or `forgetPeak` was called. NaN without /proc. */
export function memoryOf(pid: number): { now: number; peak: number } {
  let status = "";
  try {
    status = readFileSync(`/proc/${pid}/status`, "utf8");
  } catch {
    // Not Linux, or the process has ended.
  }
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, "m").exec(status)?.[1] ?? Number.NaN) / 1024;
  return { now: field("VmRSS"), peak: field("VmHWM") };
}

/** Resets the peak, where the system allows it. */
export function forgetPeak(pid: number): void {
  try {
    writeFileSync(`/proc/${pid}/clear_refs`, "5");
  } catch {
    // The peak since the process began is reported then.
  }
}
