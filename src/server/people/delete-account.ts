import { closeApp } from "../apps/apps.ts";
import { unlink } from "../connect/linked-users.ts";
import { closeCheckouts, hasOpenCheckouts, type Unsettled, unsettled } from "../payments/account-closing.ts";
import { endBilling } from "../payments/billing.ts";
import { deleteStripeCustomer } from "../payments/checkout.ts";
import { prisma, type Tx, transaction } from "../platform/db.ts";
import { endSessionsOf } from "./sessions.ts";

/** The user's apps that other users are linked to, with the number of those links. */
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

/** A debt of the user or a payment under way, which has to be settled before the account can be deleted; null without one. */
export async function unsettledPayment(owner: { userId: string; walletId: string }): Promise<Unsettled | null> {
  return transaction((tx) => unsettled(tx, owner));
}

/** `checkout paid`: a checkout was paid while it was being closed; deleting the account would lose its credits. `checkout open`: Stripe did not close it. */
export type Deletion =
  | { kind: "deleted" }
  | { kind: "apps in use"; names: string[] }
  | Unsettled
  | { kind: "checkout paid" | "checkout open" };

/**
 * Deletes an account: disconnects every app and emits `user.disconnected` for each, ends all
 * sessions and ways to sign in, and frees the address. Usage and transfers stay in the ledger,
 * under a wallet whose user has no name or address. Refused while other users are linked to an app
 * of this user, because they would lose it without notice; while the wallet has a debt; and while
 * a payment is under way. Closes open checkouts.
 */
export async function deleteAccount(userId: string): Promise<Deletion> {
  const refused = await transaction((tx) => refusal(tx, userId));
  if (refused !== null) return refused;
  // Asks Stripe, so it comes before any lock is taken; `hasOpenCheckouts` below finds checkouts opened after it.
  const checkouts = await closeCheckouts(userId);
  if (checkouts !== "closed") return { kind: checkouts === "credited" ? "checkout paid" : "checkout open" };
  let customerId: string | null = null;
  const outcome = await transaction(async (tx): Promise<Deletion> => {
    await tx.query(lockUserStatement, [userId]);
    // Waits for users who are connecting to one of the apps; `refusal` below counts their links.
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
    // The user's apps stop working: API keys, client secrets and consents end.
    const apps = await tx.prisma.app.findMany({ where: { ownerId: userId, deletedAt: null }, select: { id: true } });
    for (const { id } of apps) await closeApp(tx, id);
    await tx.prisma.identity.deleteMany({ where: { userId } });
    await tx.prisma.passwordReset.deleteMany({ where: { userId } });
    customerId = await endBilling(tx, userId);
    await tx.prisma.user.update({
      where: { id: userId },
      data: {
        // .invalid is reserved (RFC 2606): no mail reaches it, and no user can sign up with it.
        email: `deleted-${userId}@account.invalid`,
        name: null,
        passwordHash: null,
        deletedAt: new Date(),
      },
    });
    await endSessionsOf(tx.prisma, userId);
    return { kind: "deleted" };
  });
  // After the commit and not awaited: without the payment method's row no card is charged, whether or not Stripe answers.
  if (customerId !== null) void deleteStripeCustomer(customerId);
  return outcome;
}

/** The reason that prevents the deletion; null without one. */
async function refusal(tx: Tx, userId: string): Promise<Exclude<Deletion, { kind: "deleted" }> | null> {
  const inUse = await appsInUseOf(tx.prisma.app, userId);
  if (inUse.length > 0) return { kind: "apps in use", names: inUse.map(({ name }) => name) };
  const { walletId } = await tx.prisma.user.findUniqueOrThrow({ where: { id: userId }, select: { walletId: true } });
  return unsettled(tx, { userId, walletId });
}

const lockAppsStatement = { name: "account_lock_apps", text: `SELECT id FROM app WHERE owner_id = $1::uuid ORDER BY id FOR NO KEY UPDATE` };
const lockUserStatement = { name: "account_lock_user", text: `SELECT id FROM "user" WHERE id = $1::uuid FOR UPDATE` };
