import type { Prisma } from "../../generated/prisma/client.ts";
import { prisma } from "../platform/db.ts";
import { isUuid } from "../platform/ids.ts";

const columns = {
  id: true,
  provider: true,
  status: true,
  automatic: true,
  amount: true,
  cents: true,
  method: true,
  receiptUrl: true,
  problem: true,
  createdAt: true,
  paidAt: true,
  transferId: true,
  appId: true,
  intent: { select: { reversals: { select: { id: true, kind: true, state: true, amount: true }, orderBy: { createdAt: "asc" } } } },
} satisfies Prisma.PaymentSelect;
type Row = Prisma.PaymentGetPayload<{ select: typeof columns }>;

/** A top-up as its user sees it. */
export type TopUp = Omit<Row, "intent"> & {
  /** Refunds and disputes that took credits back. */
  reversals: { id: string; kind: "refund" | "dispute"; amount: bigint }[];
};

/** A wallet's top-ups, newest first, without checkouts that were not paid. `next`: the `before` of the next page, or null. */
export async function topUps(walletId: string, page: { before?: string | undefined; take: number }) {
  const rows = await (await prisma()).payment.findMany({
    where: {
      walletId,
      ...(page.before === undefined ? {} : { id: { lt: page.before } }),
      // A user knows that a checkout was closed without paying; a charge that failed is shown.
      OR: [{ status: { in: ["paid", "processing"] } }, { automatic: true }, { status: "failed", sessionId: { not: null } }],
    },
    orderBy: { id: "desc" },
    take: page.take + 1,
    select: columns,
  });
  const items = rows.slice(0, page.take).map(view);
  return { items, next: rows.length > page.take ? (items.at(-1)?.id ?? null) : null };
}

/** A paid top-up of a wallet; null when there is none with this id. */
export async function receipt(walletId: string, id: string): Promise<TopUp | null> {
  if (!isUuid(id)) return null;
  const row = await (await prisma()).payment.findFirst({ where: { id, walletId, status: "paid" }, select: columns });
  return row === null ? null : view(row);
}

function view({ intent, ...row }: Row): TopUp {
  return {
    ...row,
    reversals: (intent?.reversals ?? []).filter(({ state }) => state === "standing").map(({ id, kind, amount }) => ({ id, kind, amount })),
  };
}
