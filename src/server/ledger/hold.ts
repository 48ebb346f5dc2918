import { v7 as uuidv7 } from "uuid";
import { GrowthVerdict as GrowthWord, HoldVerdict as HoldWord, SettleVerdict as SettleWord } from "../../generated/prisma/enums.ts";
import type { Row, Sql, Statement } from "../platform/sql.ts";
import { bytesArray, plainArray, textArray, toBigInt, toBigIntOrNull } from "../platform/sql.ts";

/**
 * Authenticate, find the payer and reserve the worst case: three steps in the
 * reading, one statement in the database, many requests at a time.
 */
export type HoldRequest = {
  /** UUIDv7, also the request's id. */
  id: string;
  /** SHA-256 of the API key or access token. */
  credentialHash: Uint8Array;
  /** The credential is a person's access token: their link to the token's app pays. */
  byToken: boolean;
  /** X-Quota-User, or null when the header is absent. It doesn't go with a token. */
  externalUserId: string | null;
  model: string;
  /** Base cost of the worst case, in credits. */
  desiredBase: bigint;
  /** Base cost of the least that is worth buying; between 1 and desiredBase. */
  minimumBase: bigint;
  /**
   * Base cost of a share that leaves others theirs. Of what is available the hold takes this
   * or an eighth, whichever is more, and never more than is desired; with `desiredBase` here it
   * takes all that is desired, as long as there is so much.
   */
  modestBase: bigint;
  /** Rather be told `credits_on_hold` than be given less than a modest share while requests under way hold the rest. */
  waits: boolean;
  /** After this long the sweeper may release the hold. */
  lifetimeMs: number;
};

/** `credits_on_hold`: the payer has enough, but requests under way hold it, so nothing has to be added. */
export type HoldRefusal = Exclude<HoldWord, "held" | "limit_due" | "locked">;

export type HoldVerdict =
  | {
      kind: "held";
      id: string;
      /** Credits reserved: the desired total, or less when the payer had less. */
      amount: bigint;
      payer: Payer;
    }
  | {
      kind: "refused";
      reason: HoldRefusal;
      /** The payer, when it was found. */
      payer: Payer | null;
      /** What the payer could spend, and what the least would have cost. */
      available: bigint | null;
      needed: bigint | null;
      /** What the payer could spend if requests under way gave back all they hold. */
      released: bigint | null;
    }
  /** A new month began, or the person changed the link meanwhile: run `refillLimit` for this linked user, then ask again. */
  | { kind: "limit_due"; linkedUserId: string };

/** Somebody else has locked this account, and nothing was done: ask again. Only where the caller does not wait for locks. */
export type Locked = { kind: "locked"; accountId: string };

/** Whose credits one request spends, and under which terms. */
export type Payer = {
  appId: string;
  /** Null when an access token asked. */
  apiKeyId: string | null;
  /** Who pays: a `developer` key that names a linked user bills that user. */
  billingMode: "developer" | "user" | "test";
  markupBps: number;
  linkedUserId: string | null;
  walletId: string;
  limitId: string | null;
  /** Whoever asks may know the wallet's balance: it is the developer's own, or the person granted `credits.read`. */
  mayReadBalance: boolean;
};

/**
 * Decides a batch of requests as if they had come one after the other: what was
 * accepted is committed when this resolves.
 */
export async function hold(sql: Sql, requests: readonly HoldRequest[]): Promise<HoldVerdict[]> {
  return (await post(sql, [], requests)).holds.map(notLocked);
}

/** For callers that wait for locks: the database never answers them that an account is locked. */
function notLocked<Verdict extends { kind: string }>(verdict: Verdict | Locked): Verdict {
  if (verdict.kind === "locked") throw new Error("an account was reported as locked to somebody who waits for it");
  return verdict as Verdict;
}

/** The word of an enum of the database. */
function oneOf<Word extends string>(words: Readonly<Record<string, Word>>, found: unknown): Word {
  const word = typeof found === "string" ? words[found] : undefined;
  if (word === undefined) throw new Error(`unknown verdict ${String(found)}`);
  return word;
}

/** What the function says of each request, one array for each column. */
type Columns = Record<string, readonly unknown[] | null>;

function readVerdict(columns: Columns, index: number, id: string): HoldVerdict | Locked {
  const at = (name: string) => columns[name]?.[index] ?? null;
  const verdict = oneOf(HoldWord, at("verdict"));
  if (verdict === "limit_due") return { kind: "limit_due", linkedUserId: String(at("link_ids")) };
  if (verdict === "locked") return { kind: "locked", accountId: String(at("locked")) };
  const text = (name: string) => (at(name) === null ? null : String(at(name)));
  const walletId = text("wallet_ids");
  const payer: Payer | null =
    walletId === null
      ? null
      : {
          appId: String(at("app_ids")),
          apiKeyId: text("key_ids"),
          billingMode: at("modes") as Payer["billingMode"],
          markupBps: Number(at("markups")),
          linkedUserId: text("link_ids"),
          walletId,
          limitId: text("limit_ids"),
          mayReadBalance: at("may_read") === true || at("may_read") === "t",
        };
  if (verdict === "held") {
    if (payer === null) throw new Error(`hold ${id} has no payer`);
    return { kind: "held", id, amount: toBigInt(at("granted")), payer };
  }
  return {
    kind: "refused",
    reason: verdict,
    payer,
    available: toBigIntOrNull(at("can_spend")),
    needed: toBigIntOrNull(at("needed")),
    released: toBigIntOrNull(at("released")),
  };
}

/** What became of a held request. Tokens and credits are never below zero. */
export type Settlement = {
  /** The hold's id. */
  id: string;
  /** What the request cost, in credits, before looking at the hold. */
  base: bigint;
  markup: bigint;
  outcome: "completed" | "interrupted" | "failed" | "swept";
  endpoint: string;
  provider: string | null;
  promptTokens: number;
  cachedTokens: number;
  completionTokens: number;
  countedBy: "provider" | "tokenizer" | null;
  streamed: boolean;
  upstreamStatus: number | null;
  durationMs: number;
};

/** The settlement that returns all of a hold. */
export function unused(id: string, outcome: Settlement["outcome"], endpoint: string): Settlement {
  return {
    id,
    base: 0n,
    markup: 0n,
    outcome,
    endpoint,
    provider: null,
    promptTokens: 0,
    cachedTokens: 0,
    completionTokens: 0,
    countedBy: null,
    streamed: false,
    upstreamStatus: null,
    durationMs: 0,
  };
}

export type SettleVerdict =
  | {
      kind: "settled";
      /** What the payer was billed: base + markup, at most what was held. */
      charged: bigint;
      /** The wallet's credits afterwards, those held by other requests included. */
      balanceAfter: bigint;
    }
  | { kind: "already_resolved" }
  | { kind: "unknown_hold" };

/**
 * Spends what was used and returns the rest of each hold, in one commit with the
 * usage record. A hold resolves exactly once: whoever comes second is told
 * `already_resolved` and moves nothing. The payer never pays more than was held:
 * base cost above it is borne by the platform and entered as its shortfall, and
 * markup that nobody paid is nobody's earnings.
 */
export async function settle(sql: Sql, settlements: readonly Settlement[]): Promise<SettleVerdict[]> {
  return (await post(sql, settlements, [])).settlements.map(notLocked);
}

/**
 * Settlements and then holds, in one commit: what the former give back is there for
 * the latter. The work is done by the function of the same name in the database
 * (sql/post.sql). With `skipLocked` it waits for no account: what
 * needs one that somebody else has locked is answered `locked`, the rest is done.
 */
export async function post(
  sql: Sql,
  settlements: readonly Settlement[],
  requests: readonly HoldRequest[],
  { skipLocked = false }: { skipLocked?: boolean } = {},
): Promise<Posted> {
  const [settlement] = settlements;
  const [request] = requests;
  if (settlement !== undefined && settlements.length === 1 && request === undefined) return settleOne(sql, settlement, skipLocked);
  if (request !== undefined && requests.length === 1 && settlement === undefined) return holdOne(sql, request, skipLocked);
  const [columns] = (await sql.query(postStatement, [
    plainArray(settlements.map((each) => each.id)),
    plainArray(settlements.map((each) => each.base)),
    plainArray(settlements.map((each) => each.markup)),
    plainArray(settlements.map((each) => each.outcome)),
    textArray(settlements.map((each) => each.endpoint)),
    textArray(settlements.map((each) => each.provider)),
    plainArray(settlements.map((each) => each.promptTokens)),
    plainArray(settlements.map((each) => each.cachedTokens)),
    plainArray(settlements.map((each) => each.completionTokens)),
    textArray(settlements.map((each) => each.countedBy)),
    plainArray(settlements.map((each) => (each.streamed ? "t" : "f"))),
    plainArray(settlements.map((each) => each.upstreamStatus)),
    plainArray(settlements.map((each) => Math.round(each.durationMs))),
    uuidv7(),
    plainArray(requests.map((request) => request.id)),
    bytesArray(requests.map((request) => request.credentialHash)),
    plainArray(requests.map((request) => (request.byToken ? "t" : "f"))),
    textArray(requests.map((request) => request.externalUserId)),
    plainArray(requests.map((request) => request.desiredBase)),
    plainArray(requests.map((request) => request.minimumBase)),
    textArray(requests.map((request) => request.model)),
    plainArray(requests.map((request) => request.lifetimeMs)),
    plainArray(requests.map((request) => request.modestBase)),
    plainArray(requests.map((request) => (request.waits ? "t" : "f"))),
    skipLocked,
  ])) as [Columns];
  return {
    settlements: settlements.map((_, index) => readSettled(columns, index)),
    holds: requests.map(({ id }, index) => readVerdict(columns, index, id)),
  };
}

export type Posted = { settlements: (SettleVerdict | Locked)[]; holds: (HoldVerdict | Locked)[] };

const postStatement: Statement = {
  name: "post_batch",
  plainArrays: true,
  text: `SELECT settled::text[], charged, balance, verdict::text[], granted, can_spend, needed, app_ids, key_ids, modes::text[], markups, link_ids,
      wallet_ids, limit_ids, may_read, released, locked, settle_locked
    FROM post_batch($1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::int[], $8::int[], $9::int[],
    $10::text[], $11::bool[], $12::int[], $13::int[], $14::uuid, $15::uuid[], $16::bytea[], $17::bool[], $18::text[], $19::bigint[], $20::bigint[],
    $21::text[], $22::int[], $23::bigint[], $24::bool[], $25::bool)`,
};

async function settleOne(sql: Sql, each: Settlement, skipLocked: boolean): Promise<Posted> {
  const [row] = await sql.query(settleOneStatement, [
    each.id,
    String(each.base),
    String(each.markup),
    each.outcome,
    each.endpoint,
    each.provider,
    each.promptTokens,
    each.cachedTokens,
    each.completionTokens,
    each.countedBy,
    each.streamed,
    each.upstreamStatus,
    Math.round(each.durationMs),
    uuidv7(),
    skipLocked,
  ]);
  return { settlements: [readSettled(columnsOf(row), 0)], holds: [] };
}

async function holdOne(sql: Sql, request: HoldRequest, skipLocked: boolean): Promise<Posted> {
  const [row] = await sql.query(holdOneStatement, [
    request.id,
    request.credentialHash,
    request.byToken,
    request.externalUserId,
    String(request.desiredBase),
    String(request.minimumBase),
    request.model,
    request.lifetimeMs,
    String(request.modestBase),
    request.waits,
    skipLocked,
  ]);
  return { settlements: [], holds: [readVerdict(columnsOf(row), 0, request.id)] };
}

function columnsOf(row: Row | undefined): Columns {
  return Object.fromEntries(Object.entries(row ?? {}).map(([name, value]) => [name, [value]]));
}

// With one that came alone the function need not think of others (sql/settle.sql, sql/reserve.sql).
const settleOneStatement: Statement = {
  name: "settle_hold",
  text: `SELECT * FROM settle_hold($1::uuid, $2::bigint, $3::bigint, $4::text, $5::text, $6::text, $7::int, $8::int, $9::int, $10::text, $11::bool,
    $12::int, $13::int, $14::uuid, $15::bool)`,
};
const holdOneStatement: Statement = {
  name: "reserve_hold",
  text: `SELECT * FROM reserve_hold($1::uuid, $2::bytea, $3::bool, $4::text, $5::bigint, $6::bigint, $7::text, $8::int, $9::bigint, $10::bool, $11::bool)`,
};

function readSettled({ settled, charged, balance, settle_locked }: Columns, index: number): SettleVerdict | Locked {
  const verdict = oneOf(SettleWord, settled?.[index]);
  if (verdict === "locked") return { kind: "locked", accountId: String(settle_locked?.[index]) };
  if (verdict !== "settled") return { kind: verdict };
  return { kind: "settled", charged: toBigInt(charged?.[index]), balanceAfter: toBigInt(balance?.[index]) };
}

/** More for a hold that is open, because its stream goes on. */
export type Growth = {
  /** UUIDv7 of this growth: asking again with it adds nothing. */
  id: string;
  holdId: string;
  /** Credits, markup included; above zero. */
  desired: bigint;
  /** With less than this nothing is added; between 1 and desired. */
  minimum: bigint;
};

export type GrowthVerdict =
  | {
      kind: "grown";
      /** Credits added to the hold: the desired, or less when the payer had less. */
      amount: bigint;
    }
  | {
      kind: "refused";
      /** `resolved`: there is no such open hold. `credits_on_hold`: what others hold would be enough. `not_found`: the link is gone, paused, or has another limit by now. */
      reason: Exclude<GrowthWord, "grown" | "limit_due" | "locked">;
    }
  /** A new month began: run `refillLimit` for the hold's linked user, then ask again. */
  | { kind: "limit_due" };

/**
 * Adds to holds, in order, each as a row of its own under the lock of its wallet and
 * limit; what was added is held and settled together with the hold. Committed when this
 * resolves. `skipLocked` as for `post`.
 */
export async function grow(
  sql: Sql,
  growths: readonly Growth[],
  { skipLocked = false }: { skipLocked?: boolean } = {},
): Promise<(GrowthVerdict | Locked)[]> {
  const [columns] = (await sql.query(growStatement, [
    plainArray(growths.map(({ id }) => id)),
    plainArray(growths.map(({ holdId }) => holdId)),
    plainArray(growths.map(({ desired }) => desired)),
    plainArray(growths.map(({ minimum }) => minimum)),
    skipLocked,
  ])) as [Columns];
  return growths.map((_, index) => readGrowth(columns, index));
}

const growStatement: Statement = {
  name: "grow_holds",
  plainArrays: true,
  text: `SELECT verdict::text[], granted, locked FROM grow_holds($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bool)`,
};

function readGrowth({ verdict: verdicts, granted, locked }: Columns, index: number): GrowthVerdict | Locked {
  const verdict = oneOf(GrowthWord, verdicts?.[index]);
  if (verdict === "grown") return { kind: "grown", amount: toBigInt(granted?.[index]) };
  if (verdict === "limit_due") return { kind: "limit_due" };
  if (verdict === "locked") return { kind: "locked", accountId: String(locked?.[index]) };
  return { kind: "refused", reason: verdict };
}
