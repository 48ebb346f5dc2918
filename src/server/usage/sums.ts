import { plainArray, type Row, type Sql, type Statement, textArray, toBigInt } from "../platform/sql.ts";
import { DAY_MS } from "./period.ts";
import { momentOf, NO_API_KEY, overSums, rowSums } from "./rollup.ts";

/** Sums of requests. Tokens and credits are those of billed requests; failed ones cost nothing. */
export type Sums = {
  /** Billed requests. */
  requests: number;
  failed: number;
  promptTokens: number;
  completionTokens: number;
  /** Credits: the base cost, and the developer's markup. */
  base: bigint;
  markup: bigint;
};

export const NOTHING: Sums = { requests: 0, failed: 0, promptTokens: 0, completionTokens: 0, base: 0n, markup: 0n };

export function plus(a: Sums, b: Sums): Sums {
  return {
    requests: a.requests + b.requests,
    failed: a.failed + b.failed,
    promptTokens: a.promptTokens + b.promptTokens,
    completionTokens: a.completionTokens + b.completionTokens,
    base: a.base + b.base,
    markup: a.markup + b.markup,
  };
}

/** One line of a report: its hour or day (UTC), model, key or user; null for none. */
export type Group = Sums & { group: string | null };

/** Selects requests: of one app, paid with real or sandbox credits, settled from `from` and before `to`. */
type Requests = { appId: string; sandbox: boolean; from?: Date | undefined; to?: Date | undefined };

/** The greatest number of groups, and whether groups without a billed request are left out. */
type Order = { limit?: number; billedOnly?: boolean };

/**
 * Sums by hour, day, model or API key. `from` and `to` are full hours. `apiKeyId`: null selects
 * requests with a user's access token.
 */
export async function sumsByHour(
  sql: Sql,
  of: Requests & { model?: string | undefined; apiKeyId?: string | null | undefined },
  by: "hour" | "day" | "model" | "key" | "all",
  order: Order = {},
): Promise<Group[]> {
  const rows = await overSums(sql, hourStatements[by], [
    ...bounds(of, order),
    of.model ?? null,
    of.apiKeyId === undefined ? null : (of.apiKeyId ?? NO_API_KEY),
  ]);
  return rows.map((row) => ({ ...sumsOf(row), group: groupOf(row, by) }));
}

export type UserGroup = Group & { lastAt: Date };

/** Sums by user or day of an app's users, or of some of them. `from` and `to` are starts of days (UTC). */
export async function sumsByUser(
  sql: Sql,
  of: Requests & { externalUserIds?: readonly string[] | undefined },
  by: "user" | "day" | "all",
  order: Order = {},
): Promise<UserGroup[]> {
  if (of.externalUserIds?.length === 0) return [];
  const statements = of.externalUserIds === undefined ? everyUserStatements : someUsersStatements;
  const users = of.externalUserIds === undefined ? [] : [textArray(of.externalUserIds)];
  const { months, days } = by === "day" ? everyDay(of) : monthsAndDays(of);
  const rows = await overSums(sql, statements[by], [
    ...bounds(of, order),
    months.from.toISOString(),
    months.to.toISOString(),
    plainArray(days.map(({ sign }) => sign)),
    textArray(days.map(({ from }) => from.toISOString())),
    textArray(days.map(({ to }) => to.toISOString())),
    ...users,
  ]);
  return rows.map((row) => ({ ...sumsOf(row), group: groupOf(row, by), lastAt: momentOf(row.last_at) }));
}

const FIRST = new Date(0);
const LAST = new Date(Date.UTC(9999, 0, 1));
type Span = { from: Date; to: Date };
type SignedDays = Span & { sign: 1 | -1 };

/**
 * The rows that a span of time is summed from, so that few are read: whole months, and at
 * their edges days that are added or subtracted.
 */
export function monthsAndDays(
  { from = FIRST, to = LAST }: { from?: Date | undefined; to?: Date | undefined },
  now = new Date(),
): { months: Span; days: SignedDays[] } {
  const few = Math.min(to.getTime(), now.getTime()) - from.getTime() < 16 * DAY_MS;
  if (few) return { months: { from: FIRST, to: FIRST }, days: [{ sign: 1, from, to }] };
  const lower = edge(from);
  const upper = edge(to);
  if (lower.month >= upper.month) return { months: { from: FIRST, to: FIRST }, days: [{ sign: 1, from, to }] };
  const days: SignedDays[] = [];
  // Days before the first whole month are added; a first month that begins before the span has too many days, which are subtracted.
  if (from < lower.month) days.push({ sign: 1, from, to: lower.month });
  if (from > lower.month) days.push({ sign: -1, from: lower.month, to: from });
  if (to > upper.month) days.push({ sign: 1, from: upper.month, to });
  if (to < upper.month) days.push({ sign: -1, from: to, to: upper.month });
  return { months: { from: lower.month, to: upper.month }, days };
}

/** The nearest start of a month. */
function edge(moment: Date): { month: Date } {
  const month = moment.getUTCMonth() + (moment.getUTCDate() > 16 ? 1 : 0);
  return { month: new Date(Date.UTC(moment.getUTCFullYear(), month, 1)) };
}

function everyDay({ from = FIRST, to = LAST }: { from?: Date | undefined; to?: Date | undefined }): { months: Span; days: SignedDays[] } {
  return { months: { from: FIRST, to: FIRST }, days: [{ sign: 1, from, to }] };
}

/** The models and API keys of an app's requests since a full hour; null for users' access tokens. */
export async function modelsAndKeys(sql: Sql, appId: string, from: Date): Promise<{ models: string[]; keys: (string | null)[] }> {
  const rows = await overSums(sql, modelsAndKeysStatement, [appId, from.toISOString()]);
  return {
    models: [...new Set(rows.map((row) => String(row.model)))].sort(),
    keys: [...new Set(rows.map((row) => groupOf({ grouping: row.api_key_id }, "key")))],
  };
}

const modelsAndKeysStatement = {
  name: "usage_models_and_keys",
  text: `
    SELECT DISTINCT model, api_key_id::text, (SELECT until FROM usage_fold WHERE id = 1) AS until FROM (
      SELECT model, api_key_id FROM usage_hour WHERE app_id = $3::uuid AND hour >= $4::timestamptz
      UNION ALL
      SELECT model, coalesce(api_key_id, '${NO_API_KEY}'::uuid) FROM usage
      WHERE app_id = $3::uuid AND id >= $2::uuid AND created_at >= $1::timestamptz AND created_at >= $4::timestamptz) each
    LIMIT 2000`,
};

/** The wallets that ever paid for a user of an app, by which the user's requests are found. */
export async function walletsOf(sql: Sql, appId: string, externalUserId: string): Promise<string[]> {
  const rows = await overSums(sql, walletsStatement, [appId, externalUserId]);
  return rows.map((row) => String(row.wallet_id));
}

/**
 * Sums of one user's requests for one model or key. There are no sums by user and model, so the
 * requests themselves are read, found by the wallets that paid for them.
 */
export async function sumsOfUserByDay(
  sql: Sql,
  of: Requests & { externalUserId: string; model?: string | undefined; apiKeyId?: string | null | undefined },
  by: "hour" | "day",
): Promise<Group[]> {
  const wallets = await walletsOf(sql, of.appId, of.externalUserId);
  const rows = await sql.query(oneUserStatements[by], [
    `{${wallets.join(",")}}`,
    of.appId,
    of.sandbox,
    of.from?.toISOString() ?? null,
    of.to?.toISOString() ?? null,
    of.externalUserId,
    of.model ?? null,
    of.apiKeyId === undefined ? null : (of.apiKeyId ?? NO_API_KEY),
  ]);
  return rows.map((row) => ({ ...sumsOf(row), group: groupOf(row, by) }));
}

function bounds(of: Requests, order: Order) {
  return [
    of.appId,
    of.sandbox,
    of.from?.toISOString() ?? "1970-01-01T00:00:00.000Z",
    of.to?.toISOString() ?? "9999-01-01T00:00:00.000Z",
    order.limit ?? 10_000,
    order.billedOnly ?? false,
  ];
}

function sumsOf(row: Row): Sums {
  return {
    requests: Number(toBigInt(row.requests)),
    failed: Number(toBigInt(row.failed)),
    promptTokens: Number(toBigInt(row.prompt_tokens)),
    completionTokens: Number(toBigInt(row.completion_tokens)),
    base: toBigInt(row.base),
    markup: toBigInt(row.markup),
  };
}

function groupOf(row: Row, by: string): string | null {
  if (row.grouping === null || (by === "user" && row.grouping === "") || (by === "key" && row.grouping === NO_API_KEY)) return null;
  return String(row.grouping);
}

const written = {
  day: (moment: string) => `to_char(${moment} AT TIME ZONE 'UTC', 'YYYY-MM-DD')`,
  hour: (moment: string) => `to_char(${moment} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24":00:00.000Z"')`,
};

// COLLATE "C", because a database's default collation differs between servers.
const byTime = `1 ASC`;
const byCost = `(sum(base) + sum(markup)) DESC, grouping COLLATE "C"`;
const summed = ["requests", "failed", "prompt_tokens", "completion_tokens", "base", "markup"]
  .map((column) => `sum(${column})::bigint AS ${column}`)
  .join(", ");
const plain = "requests, failed, prompt_tokens, completion_tokens, base, markup";
// The rows that are not folded yet. `usage.id` begins with the time, so the index on (app_id, id) finds them.
const rest = `usage WHERE app_id = $3::uuid AND id >= $2::uuid AND created_at >= $1::timestamptz
  AND (billing_mode = 'test') = $4::bool AND created_at >= $5::timestamptz AND created_at < $6::timestamptz`;
const ending = (order: string) => `GROUP BY 1 HAVING NOT $8::bool OR sum(requests) > 0 ORDER BY ${order} LIMIT $7::int`;

function hourStatement(name: string, folded: string, live: string, order: string): Statement {
  return {
    name: `usage_sums_hour_${name}`,
    text: `
      SELECT grouping, ${summed}, (SELECT until FROM usage_fold WHERE id = 1) AS until FROM (
        SELECT ${folded} AS grouping, ${plain} FROM usage_hour
        WHERE app_id = $3::uuid AND sandbox = $4::bool AND hour >= $5::timestamptz AND hour < $6::timestamptz
          AND ($9::text IS NULL OR model = $9::text) AND ($10::uuid IS NULL OR api_key_id = $10::uuid)
        UNION ALL
        SELECT ${live}, ${rowSums} FROM ${rest}
          AND ($9::text IS NULL OR model = $9::text) AND ($10::uuid IS NULL OR coalesce(api_key_id, '${NO_API_KEY}'::uuid) = $10::uuid)) each
      ${ending(order)}`,
  };
}

const hourStatements = {
  hour: hourStatement("hour", written.hour("hour"), written.hour("date_trunc('hour', created_at, 'UTC')"), byTime),
  day: hourStatement("day", written.day("hour"), written.day("created_at"), byTime),
  model: hourStatement("model", "model", "model", byCost),
  key: hourStatement("key", "api_key_id::text", `coalesce(api_key_id, '${NO_API_KEY}'::uuid)::text`, byCost),
  all: hourStatement("all", "NULL::text", "NULL::text", byTime),
};

function userStatement(name: string, folded: string, live: string, order: string, some: boolean): Statement {
  const theirs = some ? "AND external_user_id = ANY ($14::text[])" : "";
  const signed = ["requests", "failed", "prompt_tokens", "completion_tokens", "base", "markup"]
    .map((column) => `e.sign * d.${column}`)
    .join(", ");
  return {
    name: `usage_sums_${some ? "some_users" : "users"}_${name}`,
    text: `
      SELECT grouping, ${summed}, max(last_at) AS last_at, (SELECT until FROM usage_fold WHERE id = 1) AS until FROM (
        SELECT ${name === "day" ? "NULL::text" : folded} AS grouping, ${plain}, last_at FROM usage_user_month
        WHERE app_id = $3::uuid AND sandbox = $4::bool AND month >= $9::timestamptz AND month < $10::timestamptz ${theirs}
        UNION ALL
        SELECT d.grouping, ${signed}, d.last_at
        FROM unnest($11::int[], $12::timestamptz[], $13::timestamptz[]) e(sign, first, next)
        JOIN LATERAL (SELECT ${folded} AS grouping, ${plain}, last_at FROM usage_user_day
          WHERE app_id = $3::uuid AND sandbox = $4::bool AND day >= e.first AND day < e.next ${theirs} OFFSET 0) d ON true
        UNION ALL
        SELECT ${live}, ${rowSums}, created_at FROM ${rest} ${some ? "AND coalesce(external_user_id, '') = ANY ($14::text[])" : ""}) each
      GROUP BY 1 HAVING sum(requests) > 0 OR (NOT $8::bool AND sum(failed) > 0) ORDER BY ${order} LIMIT $7::int`,
  };
}

function userStatements(some: boolean) {
  return {
    user: userStatement("user", "external_user_id", "coalesce(external_user_id, '')", byCost, some),
    day: userStatement("day", written.day("day"), written.day("created_at"), byTime, some),
    all: userStatement("all", "NULL::text", "NULL::text", byTime, some),
  };
}
const everyUserStatements = userStatements(false);
const someUsersStatements = userStatements(true);

const walletsStatement = {
  name: "usage_wallets_of_user",
  text: `
    SELECT DISTINCT wallet_id, (SELECT until FROM usage_fold WHERE id = 1) AS until FROM (
      SELECT wallet_id FROM usage_user_day WHERE app_id = $3::uuid AND external_user_id = $4::text
      UNION ALL
      SELECT wallet_id FROM usage WHERE app_id = $3::uuid AND id >= $2::uuid AND created_at >= $1::timestamptz AND external_user_id = $4::text) each`,
};

function oneUserStatement(by: "hour" | "day"): Statement {
  const group = by === "hour" ? written.hour("date_trunc('hour', created_at, 'UTC')") : written.day("created_at");
  return {
    name: `usage_sums_of_user_by_${by}`,
    text: `
      SELECT grouping, ${summed} FROM (
        SELECT ${group} AS grouping, ${rowSums} FROM usage
        WHERE wallet_id = ANY ($1::uuid[]) AND app_id = $2::uuid AND (billing_mode = 'test') = $3::bool
          AND ($4::timestamptz IS NULL OR created_at >= $4::timestamptz) AND ($5::timestamptz IS NULL OR created_at < $5::timestamptz)
          AND external_user_id = $6::text AND ($7::text IS NULL OR model = $7::text)
          AND ($8::uuid IS NULL OR coalesce(api_key_id, '${NO_API_KEY}'::uuid) = $8::uuid)) each
      GROUP BY 1 ORDER BY 1`,
  };
}
const oneUserStatements = { hour: oneUserStatement("hour"), day: oneUserStatement("day") };
