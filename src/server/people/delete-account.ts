import { closeApp } from "../apps/apps.ts";
import { unlink } from "../connect/linked-users.ts";
import { endBilling } from "../payments/billing.ts";
import { forgetCustomer } from "../payments/checkout.ts";
import { closeCheckouts, hasOpenCheckouts, type InTheWay, paymentsInTheWay } from "../payments/leaving.ts";
import { prisma, type Tx, transaction } from "../platform/db.ts";
import { endSessionsOf } from "./sessions.ts";

/** This person's apps that other people are still linked to, by name. */
export async function appsInUse(userId: string): Promise<{ name: string; linkedUsers: number }[]> {
  return appsInUseOf((await prisma()).app, userId);
}

async function appsInUseOf(app: Tx["prisma"]["app"], userId: string): Promise<{ name: string; linkedUsers: number }[]> {
  const apps = await app.findMany({
    where: { ownerId: userId, linkedUsers: { some: { userId: { not: userId } } } },
    select: { name: true, _count: { select: { linkedUsers: { where: { userId: { not: userId } } } } } },
    orderBy: { id: "asc" },
  });
  return apps.map((each) => ({ name: each.name, linkedUsers: each._count.linkedUsers }));
}

/** What this person owes, or a payment of theirs that is under way: the account can't end before it is settled. */
export async function paymentInTheWay(owner: { userId: string; walletId: string }): Promise<InTheWay | null> {
  return transaction((tx) => paymentsInTheWay(tx, owner));
}

/** `checkout paid`: its credits have just come in, and would be lost. `checkout open`: it could not be closed. */
export type Deletion =
  | { kind: "deleted" }
  | { kind: "apps in use"; names: string[] }
  | InTheWay
  | { kind: "checkout paid" | "checkout open" };

/**
 * Ends an account: every app is disconnected and told so, nobody can sign in, and the
 * address is free again. What was spent stays in the ledger, under a wallet that no
 * longer belongs to anybody with a name. Refused while other people are linked to an
 * app of theirs, because those would lose it without a word; while the wallet owes
 * something; and while money is on its way to it. Open checkouts are closed.
 */
export async function deleteAccount(userId: string): Promise<Deletion> {
  const refused = await transaction((tx) => refusal(tx, userId));
  if (refused !== null) return refused;
  // It asks Stripe, so it comes before anything is locked; what is opened meanwhile is seen below.
  const checkouts = await closeCheckouts(userId);
  if (checkouts !== "closed") return { kind: checkouts === "credited" ? "checkout paid" : "checkout open" };
  let customerId: string | null = null;
  const outcome = await transaction(async (tx): Promise<Deletion> => {
    await tx.query(lockUserStatement, [userId]);
    // Who is connecting to one of the apps right now is waited for, and counted.
    await tx.query(lockAppsStatement, [userId]);
    const refused = await refusal(tx, userId);
    if (refused !== null) return refused;
    if (await hasOpenCheckouts(tx, userId)) return { kind: "checkout open" };
    const links = await tx.prisma.linkedUser.findMany({
      where: { userId },
      select: { appId: true, externalUserId: true },
      orderBy: { id: "asc" },
    });
    for (const link of links) await unlink(tx, link.appId, link.externalUserId, "user");
    // Their apps stop: no key works any more, nobody can connect, and no secret fits.
    const apps = await tx.prisma.app.findMany({ where: { ownerId: userId, deletedAt: null }, select: { id: true } });
    for (const { id } of apps) await closeApp(tx, id);
    await tx.prisma.identity.deleteMany({ where: { userId } });
    await tx.prisma.passwordReset.deleteMany({ where: { userId } });
    customerId = await endBilling(tx, userId);
    await tx.prisma.user.update({
      where: { id: userId },
      data: {
        // .invalid is reserved: no mail can ever go there, and nobody can sign up with it.
        email: `deleted-${userId}@account.invalid`,
        name: null,
        passwordHash: null,
        deletedAt: new Date(),
      },
    });
    await endSessionsOf(tx.prisma, userId);
    return { kind: "deleted" };
  });
  // After the commit, and nobody waits for it: no card is charged any more in any case.
  if (customerId !== null) void forgetCustomer(customerId);
  return outcome;
}

/** What stands in the way of ending an account; null when nothing does. */
async function refusal(tx: Tx, userId: string): Promise<Exclude<Deletion, { kind: "deleted" }> | null> {
  const inUse = await appsInUseOf(tx.prisma.app, userId);
  if (inUse.length > 0) return { kind: "apps in use", names: inUse.map(({ name }) => name) };
  const { walletId } = await tx.prisma.user.findUniqueOrThrow({ where: { id: userId }, select: { walletId: true } });
  return paymentsInTheWay(tx, { userId, walletId });
}

const lockAppsStatement = { name: "account_lock_apps", text: `SELECT id FROM app WHERE owner_id = $1::uuid ORDER BY id FOR NO KEY UPDATE` };
const lockUserStatement = { name: "account_lock_user", text: `SELECT id FROM "user" WHERE id = $1::uuid FOR UPDATE` };
