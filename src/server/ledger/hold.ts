import { v7 as uuidv7 } from "uuid";
import type { Sql, Statement } from "../platform/sql.ts";
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
  /** After this long the sweeper may release the hold. */
  lifetimeMs: number;
};

export type HoldRefusal =
  | "invalid_api_key"
  | "user_required"
  | "not_found"
  | "model_not_allowed"
  | "insufficient_credits"
  | "spending_limit_reached"
  | "insufficient_scope";

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
    }
  /** A new month began, or the person changed the link meanwhile: run `refillLimit` for this linked user, then ask again. */
  | { kind: "limit_due"; linkedUserId: string };

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
  return (await post(sql, [], requests)).holds;
}

// The numbers are the function's.
const refusals: Readonly<Record<number, HoldRefusal>> = {
  1: "invalid_api_key",
  2: "user_required",
  3: "not_found",
  4: "model_not_allowed",
  5: "insufficient_credits",
  6: "spending_limit_reached",
  8: "insufficient_scope",
};
const LIMIT_DUE = 7;

/** What the function says of each request, one array for each column. */
type Columns = Record<string, readonly unknown[] | null>;

function readVerdict(columns: Columns, index: number, id: string): HoldVerdict {
  const at = (name: string) => columns[name]?.[index] ?? null;
  const code = Number(at("verdict"));
  if (code === LIMIT_DUE) return { kind: "limit_due", linkedUserId: String(at("link_ids")) };
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
  if (code === 0 && payer !== null) return { kind: "held", id, amount: toBigInt(at("granted")), payer };
  const reason = refusals[code];
  if (reason === undefined) throw new Error(`unknown verdict ${code}`);
  return { kind: "refused", reason, payer, available: toBigIntOrNull(at("can_spend")), needed: toBigIntOrNull(at("needed")) };
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
  return (await post(sql, settlements, [])).settlements;
}

/**
 * Settlements and then holds, in one commit: what the former give back is there for
 * the latter. The work is done by the function of the same name in the database
 * (prisma/migrations, ledger_post).
 */
export async function post(
  sql: Sql,
  settlements: readonly Settlement[],
  requests: readonly HoldRequest[],
): Promise<{ settlements: SettleVerdict[]; holds: HoldVerdict[] }> {
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
  ])) as [Columns];
  return {
    settlements: settlements.map((_, index) => readSettled(columns, index)),
    holds: requests.map(({ id }, index) => readVerdict(columns, index, id)),
  };
}

const postStatement: Statement = {
  name: "ledger_post",
  plainArrays: true,
  text: `SELECT * FROM ledger_post($1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::int[], $8::int[], $9::int[],
    $10::text[], $11::bool[], $12::int[], $13::int[], $14::uuid, $15::uuid[], $16::bytea[], $17::bool[], $18::text[], $19::bigint[], $20::bigint[],
    $21::text[], $22::int[])`,
};

function readSettled({ settled, charged, balance }: Columns, index: number): SettleVerdict {
  switch (Number(settled?.[index])) {
    case 0:
      return { kind: "settled", charged: toBigInt(charged?.[index]), balanceAfter: toBigInt(balance?.[index]) };
    case 1:
      return { kind: "already_resolved" };
    case 2:
      return { kind: "unknown_hold" };
    default:
      throw new Error(`unknown settlement ${String(settled?.[index])}`);
  }
}
