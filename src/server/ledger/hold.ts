import { v7 as uuidv7 } from "uuid";
import { GrowthVerdict as GrowthWord, HoldVerdict as HoldWord, SettleVerdict as SettleWord } from "../../generated/prisma/enums.ts";
import type { Row, Sql, Statement } from "../platform/sql.ts";
import { bytesArray, plainArray, textArray, toBigInt, toBigIntOrNull } from "../platform/sql.ts";

/**
 * One statement decides many requests: it authenticates the credential, finds the payer and reserves the worst case.
 */
export type HoldRequest = {
  /** UUIDv7, also the request's id. */
  id: string;
  /** SHA-256 of the API key or access token. */
  credentialHash: Uint8Array;
  /** The credential is a user's access token: the user's link to the token's app pays. */
  byToken: boolean;
  /** `X-Quota-User`, or null when the header is absent. Not read with a token. */
  externalUserId: string | null;
  model: string;
  /** Base cost of the worst case, in credits. */
  desiredBase: bigint;
  /** Base cost of the least that is worth buying; between 1 and desiredBase. */
  minimumBase: bigint;
  /**
   * Base cost of a share that leaves credits for other requests. The hold takes this or an eighth
   * of what is available, whichever is more, and at most `desiredBase`. When both are equal, it
   * takes all that is desired, if that is available.
   */
  modestBase: bigint;
  /** Refuse with `credits_on_hold` rather than hold less than `modestBase` while other requests hold the rest. */
  waits: boolean;
  /** After this long the sweeper may release the hold. */
  lifetimeMs: number;
};

/** `credits_on_hold`: the payer has enough, but requests under way hold it, so no top-up is needed. */
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
      /** What the payer could spend, and what the minimum costs, in credits. */
      available: bigint | null;
      needed: bigint | null;
      /** What the payer could spend if requests under way gave back all they hold. */
      released: bigint | null;
    }
  /**
   * A new month began, or the link was ended, paused or given another limit while the request waited for locks: run
   * `refillLimit` for this linked user, then repeat the request.
   */
  | { kind: "limit_due"; linkedUserId: string };

/** Another session has locked this account, and nothing was done. Only with `skipLocked`. */
export type Locked = { kind: "locked"; accountId: string };

/** Whose credits one request spends, and under which terms. */
export type Payer = {
  appId: string;
  /** Null for a request with an access token. */
  apiKeyId: string | null;
  /** Who pays: a `developer` key that names a linked user bills that user. */
  billingMode: "developer" | "user" | "test";
  markupBps: number;
  linkedUserId: string | null;
  walletId: string;
  limitId: string | null;
  /** The caller may know the wallet's balance: the wallet is the app's own, or the user granted `credits.read`. */
  mayReadBalance: boolean;
};

/** Decides requests as if they had come one after the other. The holds are committed when this resolves. */
export async function hold(sql: Sql, requests: readonly HoldRequest[]): Promise<HoldVerdict[]> {
  return (await post(sql, [], requests)).holds.map(notLocked);
}

/** For calls without `skipLocked`, which the database never answers with `locked`. */
function notLocked<Verdict extends { kind: string }>(verdict: Verdict | Locked): Verdict {
  if (verdict.kind === "locked") throw new Error("an account was reported as locked to a caller that waits for locks");
  return verdict as Verdict;
}

/** Checks that the database's text is a value of this enum. */
function oneOf<Word extends string>(words: Readonly<Record<string, Word>>, found: unknown): Word {
  const word = typeof found === "string" ? words[found] : undefined;
  if (word === undefined) throw new Error(`unknown verdict ${String(found)}`);
  return word;
}

/** The result of the database's function: for each column an array with one element for each request or settlement. */
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

/** How a held request ended, and what it used. Tokens and credits are never below zero. */
export type Settlement = {
  /** The hold's id. */
  id: string;
  /** What the request cost, in credits; it may be more than the hold. */
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

/** A settlement at no charge, which returns the whole hold. */
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
      /** What the payer was billed: base and markup, at most the hold. */
      charged: bigint;
      /** The wallet's balance afterwards, with what other requests hold. */
      balanceAfter: bigint;
    }
  | { kind: "already_resolved" }
  | { kind: "unknown_hold" };

/**
 * Enters the usage record, debits what was used and returns the rest of each hold, in one
 * commit. A hold resolves once: a second settlement gets `already_resolved` and moves
 * nothing. The payer pays at most the hold: base cost above it is entered as the platform's
 * shortfall, and markup above it is not credited to the app.
 */
export async function settle(sql: Sql, settlements: readonly Settlement[]): Promise<SettleVerdict[]> {
  return (await post(sql, settlements, [])).settlements.map(notLocked);
}

/**
 * Settlements and then holds, in one commit: holds may take what the settlements return. One call of a function in the
 * database: `settle_hold` or `reserve_hold` for a batch of one, `post_batch` for others. With `skipLocked` no lock is
 * waited for: items whose account another session has locked are answered `locked`, the rest is done.
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

// For a batch of one: the decisions of `post_batch` without arrays, which take longer.
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

/** Credits to add to an open hold, for a stream that needs more than it holds. */
export type Growth = {
  /** UUIDv7, for idempotency: repeated with the same id, a growth adds nothing. */
  id: string;
  holdId: string;
  /** Credits, markup included; above zero. */
  desired: bigint;
  /** When less than this is available, nothing is added; between 1 and desired. */
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
      /**
       * `resolved`: there is no such open hold. `credits_on_hold`: other requests hold enough. `not_found`: since the hold was
       * made the link was ended or paused, or its limit has another account.
       */
      reason: Exclude<GrowthWord, "grown" | "limit_due" | "locked">;
    }
  /** A new month began: run `refillLimit` for the hold's linked user, then repeat the growth. */
  | { kind: "limit_due" };

/**
 * Adds to open holds, in order: a row for each growth, inserted while wallet and limit are locked. A settlement settles
 * hold and growths together. Committed when this resolves. `skipLocked` as for `post`.
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
