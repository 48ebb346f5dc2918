import { randomFillSync } from "node:crypto";
import { v7 as uuidv7 } from "uuid";

/** A new UUIDv7: sorts by time, needs no sequence. */
export function newId(): string {
  if (taken === pool.length) {
    randomFillSync(pool);
    taken = 0;
  }
  taken += 16;
  return uuidv7({ random: pool.subarray(taken - 16, taken) });
}

// Each call for random bytes is a call into OpenSSL, so one call fetches them for 256 ids.
const pool = new Uint8Array(16 * 256);
let taken = pool.length;

/**
 * The smallest UUIDv7 of a moment, for ranges of ids by time: ids made before the moment are below
 * it, ids made at the moment or later are not. A UUIDv7 begins with the time in milliseconds;
 * version, variant and random bits are zero here.
 */
export function firstIdAt(moment: Date | number): string {
  const hex = Math.max(0, Math.floor(Number(moment)))
    .toString(16)
    .padStart(12, "0");
  return `${hex.slice(0, 8)}-${hex.slice(8)}-0000-0000-000000000000`;
}

/** How a request's id is shown: `req_` and 32 hexadecimal digits. The hold of the request has the same UUID. */
export function requestIdOf(id: string): string {
  return `req_${id.replaceAll("-", "")}`;
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

export function isUuid(text: string): boolean {
  return UUID.test(text);
}

/** The UUID behind a shown request id; null for anything else. */
export function idOfRequest(shown: string): string | null {
  return idOfShown("req", shown);
}

/** A shown id: the kind of thing and 32 hexadecimal digits. */
export function shownId(kind: "evt" | "whk" | "dlv", id: string): string {
  return `${kind}_${id.replaceAll("-", "")}`;
}

/** The UUID behind a shown id of this kind; null for anything else. */
export function idOfShown(kind: "req" | "evt" | "whk" | "dlv", shown: string): string | null {
  const hex = /^([a-z]{3})_([0-9a-f]{32})$/.exec(shown);
  return hex === null || hex[1] !== kind ? null : (hex[2] as string).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
