import { v7 as uuidv7 } from "uuid";
import { type HoldRequest, type HoldVerdict, hold, type Settlement } from "../server/ledger/hold.ts";
import type { Sql } from "../server/platform/sql.ts";

/** Requests and settlements with defaults for every field that a test does not set. */

type HoldOptions = Partial<Omit<HoldRequest, "credentialHash">> & {
  /** Sets desired and minimum to one amount: all or nothing. */
  amount?: bigint;
};

export function holdRequest(key: { hash: Uint8Array }, options: HoldOptions = {}): HoldRequest {
  const { amount = 100n, ...rest } = options;
  return {
    id: uuidv7(),
    credentialHash: key.hash,
    byToken: false,
    externalUserId: null,
    model: "test/small",
    desiredBase: amount,
    minimumBase: amount,
    modestBase: rest.desiredBase ?? amount,
    waits: false,
    lifetimeMs: 600_000,
    ...rest,
  };
}

export function settlement(id: string, base: bigint, markup = 0n, options: Partial<Settlement> = {}): Settlement {
  return {
    id,
    base,
    markup,
    outcome: "completed",
    endpoint: "/v1/chat/completions",
    provider: "test",
    promptTokens: 1,
    cachedTokens: 0,
    completionTokens: 1,
    countedBy: "provider",
    streamed: false,
    upstreamStatus: 200,
    durationMs: 1,
    ...options,
  };
}

export type Held = Extract<HoldVerdict, { kind: "held" }>;

/** Holds in one batch; throws unless all are held. */
export async function holdAll(sql: Sql, requests: readonly HoldRequest[]): Promise<Held[]> {
  return (await hold(sql, requests)).map((verdict) => {
    if (verdict?.kind !== "held") throw new Error(`not held: ${verdict?.kind === "refused" ? verdict.reason : verdict?.kind}`);
    return verdict;
  });
}

export async function holdOne(sql: Sql, request: HoldRequest): Promise<Held> {
  const [held] = await holdAll(sql, [request]);
  if (held === undefined) throw new Error("no verdict");
  return held;
}

/** Polls the database until `check` is true; for states that another connection reaches on its own. */
export async function until(check: () => Promise<boolean>): Promise<void> {
  const giveUpAt = Date.now() + 20_000;
  while (!(await check())) {
    if (Date.now() > giveUpAt) throw new Error("the awaited state was not reached");
  }
}

/** Whether a statement of this database waits for a lock. */
export async function someoneWaits(sql: Sql): Promise<boolean> {
  const rows = await sql.query(
    {
      name: "test_waiting",
      text: `SELECT 1 AS found FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
    },
    [],
  );
  return rows.length > 0;
}

/** A seeded random generator: the same seed gives the same numbers. */
export function chance(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}
