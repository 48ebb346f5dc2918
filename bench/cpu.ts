import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";

/** CPU time in milliseconds of these processes and of their children that have ended; null without /proc. */
export function cpuMs(pids: readonly number[]): number | null {
  let ticks = 0;
  for (const pid of pids) {
    const fields = statOf(pid);
    if (fields === null) return null;
    for (const field of fields.slice(11, 15)) ticks += Number(field);
  }
  // A tick is a hundredth of a second (USER_HZ).
  return pids.length === 0 ? null : ticks * 10;
}

/** The process ids of the PostgreSQL server with this data folder; none when they are not known. */
export function postgresPids(dataDir: string | undefined): number[] {
  if (dataDir === undefined) return [];
  try {
    const postmaster = Number(readFileSync(path.join(dataDir, "postmaster.pid"), "utf8").split("\n")[0]);
    const children = readdirSync("/proc")
      .map(Number)
      .filter((pid) => Number.isInteger(pid) && Number(statOf(pid)?.[1]) === postmaster);
    return [postmaster, ...children];
  } catch {
    return [];
  }
}

/** The fields of /proc/PID/stat after the name, which may contain spaces. */
function statOf(pid: number): string[] | null {
  try {
    return readFileSync(`/proc/${pid}/stat`, "utf8")
      .replace(/^.*\) /s, "")
      .split(" ");
  } catch {
    return null;
  }
}
