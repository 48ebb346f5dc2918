import { AppError } from "../platform/errors.ts";

/**
 * Work that keeps the main thread for tens of milliseconds, such as reading a large body. One piece is done at a
 * time, and after each the process does other things for at least as long: so however many come together, what is
 * small gets through in between. Keys take turns. Throws `overloaded` when too many wait already.
 */
export function inTurn<T>(key: string, work: () => T): Promise<T> {
  return new Promise((resolve, reject) => {
    const mine = waiting.get(key);
    if ((mine?.length ?? 0) >= MOST_OF_ONE || count >= MOST) return reject(new AppError("overloaded", { headers: { "retry-after": "1" } }));
    const job = () => {
      try {
        resolve(work());
      } catch (error) {
        reject(error);
      }
    };
    count++;
    if (mine === undefined) waiting.set(key, [job]);
    else mine.push(job);
    if (!busy) next();
  });
}

/** Each may wait with a body of 10 MiB. */
const MOST_OF_ONE = 32;
const MOST = 128;
const LONGEST_PAUSE_MS = 200;

const waiting = new Map<string, (() => void)[]>();
let count = 0;
let busy = false;

function next(): void {
  const [key, jobs] = waiting.entries().next().value ?? [];
  if (key === undefined || jobs === undefined) {
    busy = false;
    return;
  }
  busy = true;
  waiting.delete(key);
  const job = jobs.shift();
  if (jobs.length > 0) waiting.set(key, jobs);
  count--;
  const began = performance.now();
  job?.();
  setTimeout(next, Math.min(LONGEST_PAUSE_MS, Math.ceil(performance.now() - began)));
}
