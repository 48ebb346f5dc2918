import { availableParallelism } from "node:os";
import { env } from "#env";
import { processWide } from "../platform/process-wide.ts";

/**
 * argon2 occupies a core for tens of milliseconds and takes 19 MB. A user who signs in can wait for
 * that; billed requests must not. So all processes of a machine together hash on at most half of its
 * cores, each leaves one of the four threads of Node's pool to other work, and an attempt that comes
 * when the queue is full is refused at once.
 */
const MOST_RUNNING = Math.min(3, Math.max(1, Math.floor(availableParallelism() / 2 / env.QUOTA_PROCESSES)));
const MOST_QUEUED = 64;
/** For one IP address, so that one address cannot fill the queue. */
const MOST_QUEUED_OF_ADDRESS = 16;

export class TooBusy extends Error {}

type Queue = { running: number; present: number; ofAddress: Map<string, number>; waiting: (() => void)[] };

const queue = processWide("hashing", (): Queue => ({ running: 0, present: 0, ofAddress: new Map(), waiting: [] }));

/** Throws TooBusy when the queue, or this address's part of it, is full; to be called before other work is done. */
export function refuseWhenFull(address: string): void {
  if (queue.present >= MOST_QUEUED || (queue.ofAddress.get(address) ?? 0) >= MOST_QUEUED_OF_ADDRESS) throw new TooBusy();
}

/** Runs `hash` when fewer than the limit run. Throws TooBusy at once when the queue is full. */
export async function inQueue<T>(address: string, hash: () => Promise<T>): Promise<T> {
  refuseWhenFull(address);
  queue.present++;
  queue.ofAddress.set(address, (queue.ofAddress.get(address) ?? 0) + 1);
  try {
    if (queue.running >= MOST_RUNNING) await new Promise<void>((resolve) => queue.waiting.push(resolve));
    else queue.running++;
    try {
      return await hash();
    } finally {
      // The next in the queue takes over this one's slot; without a next the slot is free.
      const next = queue.waiting.shift();
      if (next === undefined) queue.running--;
      else next();
    }
  } finally {
    queue.present--;
    const left = (queue.ofAddress.get(address) ?? 1) - 1;
    if (left === 0) queue.ofAddress.delete(address);
    else queue.ofAddress.set(address, left);
  }
}
