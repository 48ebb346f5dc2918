import type { PrismaClient, TransferReason } from "../../generated/prisma/client.ts";
import { firstIdAt, requestIdOf } from "../platform/ids.ts";
import { type Sql, toBigInt } from "../platform/sql.ts";
import { type Page, pageOf } from "./dashboard.ts";
import { longestRequestMs } from "./moments.ts";

/** One line of a wallet's statement. `amount` is the change in credits, negative for spending. */
export type StatementEntry =
  | {
      kind: "request";
      id: string;
      requestId: string;
      at: Date;
      amount: bigint;
      appId: string;
      appName: string;
      externalUserId: string | null;
      billingMode: "developer" | "user" | "test";
      model: string;
      endpoint: string;
      promptTokens: number;
      completionTokens: number;
      /** Credits that were on hold for it. */
      held: bigint;
      base: bigint;
      markup: bigint;
      interrupted: boolean;
    }
  | {
      kind: "transfer";
      id: string;
      at: Date;
      amount: bigint;
      reason: TransferReason;
      description: string | null;
      /** The app that gave credits, or in which a top-up was begun. */
      appName: string | null;
      /** The user whom the app gave credits to. */
      externalUserId: string | null;
      /** The payment of a top-up, which has a receipt. */
      paymentId: string | null;
    };

/**
 * One page of a wallet's statement, newest first. Requests that cost nothing are left out; with
 * `appId` it has only that app's requests.
 */
export async function statement(
  db: PrismaClient,
  ask: { walletId: string; appId?: string | undefined; before?: string | undefined; take: number },
): Promise<Page<StatementEntry>> {
  const page = {
    orderBy: { id: "desc" },
    take: ask.take + 1,
  } as const;
  const id = ask.before === undefined ? undefined : { lt: ask.before };
  const [usages, outgoing, incoming] = await Promise.all([
    db.usage.findMany({
      where: { walletId: ask.walletId, appId: ask.appId, id, OR: [{ base: { gt: 0 } }, { markup: { gt: 0 } }] },
      ...page,
    }),
    // A filter by app leaves transfers out.
    ask.appId === undefined ? db.transfer.findMany({ where: { debitId: ask.walletId, id }, ...page }) : [],
    ask.appId === undefined ? db.transfer.findMany({ where: { creditId: ask.walletId, id }, ...page }) : [],
  ]);
  const transferIds = [...outgoing, ...incoming].map(({ id }) => id);
  const [gifts, payments] = await Promise.all([
    db.gift.findMany({ where: { transferId: { in: transferIds } } }),
    db.payment.findMany({ where: { transferId: { in: transferIds } }, select: { id: true, transferId: true, appId: true } }),
  ]);
  const giftOf = new Map(gifts.map((gift) => [gift.transferId, gift]));
  const paymentOf = new Map(payments.map((payment) => [payment.transferId, payment]));
  const names = await appNames(
    db,
    [...usages, ...gifts, ...payments].flatMap(({ appId }) => appId ?? []),
  );
  const entries: StatementEntry[] = [
    ...usages.map((usage) => ({
      kind: "request" as const,
      id: usage.id,
      requestId: requestIdOf(usage.id),
      at: usage.createdAt,
      amount: -(usage.base + usage.markup),
      appId: usage.appId,
      appName: names.get(usage.appId) ?? "An app",
      externalUserId: usage.externalUserId,
      billingMode: usage.billingMode,
      model: usage.model,
      endpoint: usage.endpoint,
      promptTokens: usage.promptTokens,
      completionTokens: usage.completionTokens,
      held: usage.held,
      base: usage.base,
      markup: usage.markup,
      interrupted: usage.outcome === "interrupted",
    })),
    ...[...outgoing, ...incoming].map((transfer) => ({
      kind: "transfer" as const,
      id: transfer.id,
      at: transfer.createdAt,
      amount: transfer.debitId === ask.walletId ? -transfer.amount : transfer.amount,
      reason: transfer.reason,
      description: transfer.description,
      appName: names.get(giftOf.get(transfer.id)?.appId ?? paymentOf.get(transfer.id)?.appId ?? "") ?? null,
      externalUserId: giftOf.get(transfer.id)?.externalUserId ?? null,
      paymentId: paymentOf.get(transfer.id)?.id ?? null,
    })),
  ];
  entries.sort((a, b) => (a.id < b.id ? 1 : -1));
  return pageOf(entries, ask.take);
}

/** The apps that a wallet has paid for within a year, sorted by name. */
export async function appsPaid(sql: Sql, walletId: string, now = new Date()): Promise<{ id: string; name: string }[]> {
  const since = firstIdAt(new Date(Date.UTC(now.getUTCFullYear() - 1, now.getUTCMonth(), now.getUTCDate())));
  const rows = await sql.query(appsPaidStatement, [walletId, since]);
  return rows.map((row) => ({ id: String(row.id), name: String(row.name) }));
}

const appsPaidStatement = {
  name: "usage_apps_paid",
  text: `
    SELECT id, name FROM app
    WHERE id IN (SELECT app_id FROM usage WHERE wallet_id = $1::uuid AND id >= $2::uuid AND base + markup > 0)
    ORDER BY lower(name), id LIMIT 200`,
};

async function appNames(db: PrismaClient, appIds: string[]): Promise<Map<string, string>> {
  const apps = await db.app.findMany({ where: { id: { in: [...new Set(appIds)] } }, select: { id: true, name: true } });
  return new Map(apps.map((app) => [app.id, app.name]));
}

export type SpentThisMonth = {
  /** What each app took, links that have ended included. Credits. */
  byApp: Map<string, bigint>;
  /** When each linked user last paid for a request this month. */
  byLink: Map<string, { lastUsedAt: Date | null }>;
};

/** What apps took from a wallet through links in this month (UTC), in credits. A request belongs to the month in which it was settled. */
export async function spentThisMonth(sql: Sql, walletId: string, now = new Date()): Promise<SpentThisMonth> {
  const since = new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), 1));
  const firstId = firstIdAt(new Date(since.getTime() - longestRequestMs()));
  const rows = await sql.query(spentStatement, [walletId, firstId, since.toISOString()]);
  const byApp = new Map<string, bigint>();
  const byLink: SpentThisMonth["byLink"] = new Map();
  for (const row of rows) {
    const appId = String(row.app_id);
    byApp.set(appId, (byApp.get(appId) ?? 0n) + toBigInt(row.spent));
    byLink.set(String(row.linked_user_id), { lastUsedAt: row.last_used_at instanceof Date ? row.last_used_at : null });
  }
  return { byApp, byLink };
}

const spentStatement = {
  name: "usage_spent_this_month",
  text: `
    SELECT app_id, linked_user_id, sum(base + markup)::bigint AS spent, max(created_at) AS last_used_at
    FROM usage WHERE wallet_id = $1::uuid AND id >= $2::uuid AND created_at >= $3::timestamptz AND linked_user_id IS NOT NULL
    GROUP BY app_id, linked_user_id`,
};
