import { availableParallelism } from "node:os";
import { env } from "#env";
import { processWide } from "../platform/process-wide.ts";

/**
 * argon2 keeps a core busy for tens of milliseconds and takes 19 MB meanwhile. Whoever
 * signs in waits for that; requests that are billed must not. So the processes of a
 * machine hash on half of its cores, leaving one of Node's four threads to everything
 * else, and who comes when the line is long is told so at once.
 */
const AT_ONCE = Math.min(3, Math.max(1, Math.floor(availableParallelism() / 2 / env.QUOTA_PROCESSES)));
const LONGEST_LINE = 64;
/** Of one address, so that it does not fill the line alone. */
const LONGEST_LINE_OF_ADDRESS = 16;

export class TooBusy extends Error {}

type Line = { running: number; present: number; ofAddress: Map<string, number>; waiting: (() => void)[] };

const line = processWide("hashing", (): Line => ({ running: 0, present: 0, ofAddress: new Map(), waiting: [] }));

/** Throws TooBusy when nobody more from this address can get in line; to ask before there is other work. */
export function needsRoom(address: string): void {
  if (line.present >= LONGEST_LINE || (line.ofAddress.get(address) ?? 0) >= LONGEST_LINE_OF_ADDRESS) throw new TooBusy();
}

/** Hashes when it is this one's turn. Throws TooBusy, without waiting, when too many are in line. */
export async function inTurn<T>(address: string, hash: () => Promise<T>): Promise<T> {
  needsRoom(address);
  line.present++;
  line.ofAddress.set(address, (line.ofAddress.get(address) ?? 0) + 1);
  try {
    if (line.running >= AT_ONCE) await new Promise<void>((resolve) => line.waiting.push(resolve));
    else line.running++;
    try {
      return await hash();
    } finally {
      // Whoever is next takes over the place; only without one it is free.
      const next = line.waiting.shift();
      if (next === undefined) line.running--;
      else next();
    }
  } finally {
    line.present--;
    const left = (line.ofAddress.get(address) ?? 1) - 1;
    if (left === 0) line.ofAddress.delete(address);
    else line.ofAddress.set(address, left);
  }
}
