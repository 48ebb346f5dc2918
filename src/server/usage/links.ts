import type { PrismaClient } from "../../generated/prisma/client.ts";
import { firstIdAt } from "../platform/ids.ts";
import { type Row, type Sql, toBigIntOrNull } from "../platform/sql.ts";
import type { Page } from "./dashboard.ts";
import { pageOf } from "./dashboard.ts";

/** How many links an app has, and how many began and ended since a moment. */
export async function linksOf(db: PrismaClient, appId: string, since: Date): Promise<{ now: number; new: number; lost: number }> {
  const [now, came, lost] = await Promise.all([
    db.linkedUser.count({ where: { appId } }),
    db.linkedUser.count({ where: { appId, id: { gte: firstIdAt(since) } } }),
    db.formerLink.count({ where: { appId, endedAt: { gte: since } } }),
  ]);
  return { now, new: came, lost };
}

/** What an app's owner sees of a link. Without the wallet's balance; the email only with the scope `email`. */
export type LinkItem = {
  id: string;
  externalUserId: string;
  /** null unless the user granted the scope `email`. */
  email: string | null;
  linkedAt: Date;
  pausedAt: Date | null;
  scope: string;
  allowedModels: string[];
  agreedMarkupBps: number;
  limitId: string | null;
  monthlyLimit: bigint | null;
  limitPeriodEndsAt: Date | null;
  limitOverspent: bigint;
  limitElsewhere: bigint;
  appId: string;
  walletId: string;
};

/** One page of an app's links, newest first. `search`: part of the external id or of a visible email. */
export async function links(
  sql: Sql,
  ask: { appId: string; search?: string | undefined; before?: string | undefined; take: number },
): Promise<Page<LinkItem>> {
  const search = ask.search === undefined ? null : `%${escapeLike(ask.search)}%`;
  const rows = await sql.query(search === null ? listStatement : searchStatement, [
    ask.appId,
    ask.before ?? LAST_ID,
    ask.take + 1,
    ...(search === null ? [] : [search]),
  ]);
  return pageOf(rows.map(linkOf), ask.take);
}

/** One link of an app; null when the app has no such link. */
export async function linkById(sql: Sql, appId: string, id: string): Promise<LinkItem | null> {
  const [row] = await sql.query(oneStatement, [appId, id]);
  return row === undefined ? null : linkOf(row);
}

const LAST_ID = "ffffffff-ffff-ffff-ffff-ffffffffffff";

// `scope` is a list of words separated by spaces.
const SHOWS_EMAIL = `' ' || l.scope || ' ' LIKE '% email %'`;
const columns = `l.id, l.external_user_id, CASE WHEN ${SHOWS_EMAIL} THEN u.email END AS email, l.linked_at, l.paused_at, l.scope, g.allowed_models,
  g.agreed_markup_bps, g.limit_id, g.monthly_limit, g.limit_period_ends_at, g.limit_overspent,
  g.limit_elsewhere, l.app_id, l.wallet_id`;

const tables = `linked_user l JOIN "user" u ON u.id = l.user_id JOIN agreement g ON g.user_id = l.user_id AND g.app_id = l.app_id`;

const listStatement = {
  name: "dashboard_links",
  text: `
    SELECT ${columns} FROM ${tables}
    WHERE l.app_id = $1::uuid AND l.id < $2::uuid ORDER BY l.id DESC LIMIT $3::int`,
};
const searchStatement = {
  name: "dashboard_links_search",
  text: `
    SELECT ${columns} FROM ${tables}
    WHERE l.app_id = $1::uuid AND l.id < $2::uuid AND (l.external_user_id ILIKE $4::text OR (${SHOWS_EMAIL} AND u.email ILIKE $4::text))
    ORDER BY l.id DESC LIMIT $3::int`,
};
const oneStatement = {
  name: "dashboard_link",
  text: `SELECT ${columns} FROM ${tables} WHERE l.app_id = $1::uuid AND l.id = $2::uuid`,
};

function linkOf(row: Row): LinkItem {
  return {
    id: String(row.id),
    externalUserId: String(row.external_user_id),
    email: row.email === null ? null : String(row.email),
    linkedAt: dateOf(row.linked_at) as Date,
    pausedAt: dateOf(row.paused_at),
    scope: String(row.scope),
    allowedModels: row.allowed_models as string[],
    agreedMarkupBps: Number(row.agreed_markup_bps),
    limitId: row.limit_id === null ? null : String(row.limit_id),
    monthlyLimit: toBigIntOrNull(row.monthly_limit),
    limitPeriodEndsAt: dateOf(row.limit_period_ends_at),
    limitOverspent: toBigIntOrNull(row.limit_overspent) ?? 0n,
    limitElsewhere: toBigIntOrNull(row.limit_elsewhere) ?? 0n,
    appId: String(row.app_id),
    walletId: String(row.wallet_id),
  };
}

function dateOf(value: unknown): Date | null {
  return value === null || value === undefined ? null : value instanceof Date ? value : new Date(String(value));
}

/** Escapes the wildcards of LIKE, so that `user_1` finds only that text. */
function escapeLike(text: string): string {
  return text.replace(/[\\%_]/g, "\\$&");
}
