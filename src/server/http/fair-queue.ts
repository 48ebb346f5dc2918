import { AppError } from "../platform/errors.ts";

/**
 * Queues work that blocks the event loop for tens of milliseconds, such as parsing a large body. One job runs at a time.
 * After each, the queue pauses for as long as the job took, LONGEST_PAUSE_MS at most, so that short requests are
 * answered between jobs. Keys are served round-robin. Throws `overloaded` when the queue is full for this key or for all.
 */
export function runInFairQueue<T>(key: string, work: () => T): Promise<T> {
  return new Promise((resolve, reject) => {
    const queued = waiting.get(key);
    if ((queued?.length ?? 0) >= MOST_WAITING_PER_KEY || count >= MOST_WAITING)
      return reject(new AppError("overloaded", { headers: { "retry-after": "1" } }));
    const job = () => {
      try {
        resolve(work());
      } catch (error) {
        reject(error);
      }
    };
    count++;
    if (queued === undefined) waiting.set(key, [job]);
    else queued.push(job);
    if (!busy) next();
  });
}

/** Runs `parse` on a body's text: in the fair queue of this key when the text is long, and at once otherwise. */
export function parseFairly<T>(key: string, text: string, parse: () => T): T | Promise<T> {
  return text.length > MOST_UNQUEUED_CHARACTERS ? runInFairQueue(key, parse) : parse();
}

/** A body of this length is parsed in a few milliseconds, whatever it contains. */
const MOST_UNQUEUED_CHARACTERS = 64 * 1024;

/** A waiting job may keep a body of QUOTA_MAX_BODY_BYTES in memory. */
const MOST_WAITING_PER_KEY = 32;
const MOST_WAITING = 128;
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
