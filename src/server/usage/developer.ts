import type { Prisma, PrismaClient, TransferReason } from "../../generated/prisma/client.ts";
import type { Database } from "../platform/db.ts";
import { firstIdAt, requestIdOf } from "../platform/ids.ts";
import { type Page, pageOf } from "./dashboard.ts";
import { periodUntil } from "./period.ts";
import { sumsByUser } from "./sums.ts";

// A user has one wallet. This file reports what the wallet pays as a developer's.

type Developer = { id: string; walletId: string };

export type DeveloperMonth = {
  /** Requests that named no user, by app, the largest amount first. */
  apps: { id: string; name: string; requests: number; spent: bigint }[];
  spent: bigint;
  /** Credits given to linked users. */
  given: bigint;
  gifts: number;
};

/** What a developer's wallet paid in the last 30 days (UTC, today included). */
export async function developerMonth(db: Database, developer: Developer, now = new Date()): Promise<DeveloperMonth> {
  const { from } = periodUntil("30d", now);
  const [apps, gifts] = await Promise.all([
    db.prisma.app.findMany({ where: { ownerId: developer.id }, select: { id: true, name: true }, orderBy: { id: "desc" }, take: 200 }),
    db.prisma.transfer.aggregate({
      where: { debitId: developer.walletId, reason: "funding", id: { gte: firstIdAt(from) }, createdAt: { gte: from } },
      _sum: { amount: true },
      _count: true,
    }),
  ]);
  const paid = await Promise.all(
    apps.map(async (app) => {
      const [sums] = await sumsByUser(db.sql, { appId: app.id, sandbox: false, from, externalUserIds: [""] }, "all");
      return { ...app, requests: sums?.requests ?? 0, spent: (sums?.base ?? 0n) + (sums?.markup ?? 0n) };
    }),
  );
  return {
    apps: paid.filter(({ requests }) => requests > 0).sort((a, b) => (a.spent < b.spent ? 1 : -1)),
    spent: paid.reduce((sum, app) => sum + app.spent, 0n),
    given: gifts._sum.amount ?? 0n,
    gifts: gifts._count,
  };
}

/** One line of a developer's statement. `amount` is the change in credits, negative for spending. */
export type DeveloperEntry =
  | { kind: "request"; id: string; requestId: string; at: Date; amount: bigint; app: { id: string; name: string } | null; model: string }
  | {
      kind: "transfer";
      id: string;
      at: Date;
      amount: bigint;
      reason: TransferReason;
      description: string | null;
      /** The linked user of the developer's apps who got a gift; null when there is none any more. */
      to: Recipient | null;
    };

export async function developerStatement(
  db: Database,
  developer: Developer,
  ask: { show: "everything" | "requests" | "funding"; before?: string | undefined; take: number },
): Promise<Page<DeveloperEntry>> {
  const { walletId } = developer;
  const id = ask.before === undefined ? undefined : { lt: ask.before };
  const page = { orderBy: { id: "desc" }, take: ask.take + 1 } as const;
  const reason = ask.show === "funding" ? "funding" : undefined;
  const [usages, outgoing, incoming] = await Promise.all([
    ask.show === "funding"
      ? []
      : db.prisma.usage.findMany({
          where: { walletId, billingMode: "developer", id, OR: [{ base: { gt: 0 } }, { markup: { gt: 0 } }] },
          select: { id: true, createdAt: true, base: true, markup: true, appId: true, model: true },
          ...page,
        }),
    ask.show === "requests" ? [] : db.prisma.transfer.findMany({ where: { debitId: walletId, reason, id }, ...page }),
    ask.show === "everything" ? db.prisma.transfer.findMany({ where: { creditId: walletId, id }, ...page }) : [],
  ]);
  const [names, recipients] = await Promise.all([
    appNames(db.prisma, { id: { in: [...new Set(usages.map((usage) => usage.appId))] } }),
    recipientsOf(
      db.prisma,
      developer,
      outgoing.map((transfer) => transfer.creditId),
    ),
  ]);
  const entries: DeveloperEntry[] = [
    ...usages.map((usage) => ({
      kind: "request" as const,
      id: usage.id,
      requestId: requestIdOf(usage.id),
      at: usage.createdAt,
      amount: -(usage.base + usage.markup),
      app: names.get(usage.appId) ?? null,
      model: usage.model,
    })),
    ...[...outgoing, ...incoming].map((transfer) => ({
      kind: "transfer" as const,
      id: transfer.id,
      at: transfer.createdAt,
      amount: transfer.debitId === walletId ? -transfer.amount : transfer.amount,
      reason: transfer.reason,
      description: transfer.description,
      to: transfer.debitId === walletId ? (recipients.get(transfer.creditId) ?? null) : null,
    })),
  ];
  entries.sort((a, b) => (a.id < b.id ? 1 : -1));
  return pageOf(entries, ask.take);
}

async function appNames(db: PrismaClient, where: Prisma.AppWhereInput): Promise<Map<string, { id: string; name: string }>> {
  const apps = await db.app.findMany({ where, select: { id: true, name: true } });
  return new Map(apps.map((app) => [app.id, app]));
}

type Recipient = { appId: string; appName: string; linkedUserId: string; externalUserId: string };

async function recipientsOf(db: PrismaClient, developer: Developer, walletIds: string[]): Promise<Map<string, Recipient>> {
  if (walletIds.length === 0) return new Map();
  const links = await db.linkedUser.findMany({
    where: { walletId: { in: [...new Set(walletIds)] }, app: { ownerId: developer.id } },
    select: { id: true, walletId: true, externalUserId: true, app: { select: { id: true, name: true } } },
    orderBy: { id: "asc" },
  });
  return new Map(
    links.map((link) => [
      link.walletId,
      { appId: link.app.id, appName: link.app.name, linkedUserId: link.id, externalUserId: link.externalUserId },
    ]),
  );
}
