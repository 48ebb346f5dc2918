import { randomUUID } from "node:crypto";
import { describe, expect, test } from "vitest";
import { onBothDatabases, withDatabase } from "#testing/database.ts";
import { idIn } from "#testing/fake-stripe.ts";
import { someoneWaits, until } from "#testing/ledger-requests.ts";
import { withStripe } from "#testing/payments.ts";
import { platformAccount } from "../ledger/accounts.ts";
import { transfer } from "../ledger/transfer.ts";
import { verify } from "../ledger/verify.ts";
import { deleteAccount } from "../people/delete-account.ts";
import { transaction } from "../platform/db.ts";
import { newId } from "../platform/ids.ts";
import { createCaller } from "../trpc/root.ts";
import { openCheckout } from "./checkout.ts";

onBothDatabases("deleting an account", (db) => {
  const { fake, deliverAll, person } = withStripe(db);
  const isThere = async (id: string) => (await db().prisma.user.findUniqueOrThrow({ where: { id } })).deletedAt === null;
  const booksAreInOrder = async () => expect((await verify(db().sql)).discrepancies).toEqual([]);

  test("closes an open checkout at Stripe, so that it cannot be paid for a wallet without a user", async () => {
    const mara = await person();
    const [one, two] = [await mara.checkout(), await mara.checkout("usd_25")];
    expect(await deleteAccount(mara.id)).toEqual({ kind: "deleted" });
    for (const session of [one, two]) {
      expect((await mara.payment(session)).status).toBe("expired");
      expect(fake().calls.some(({ path }) => path === `/v1/checkout/sessions/${session}/expire`)).toBe(true);
    }
  });

  test("credits a checkout that turns out to be paid, and is refused once, before those credits are lost", async () => {
    const mara = await person();
    const session = await mara.checkout();
    // The user paid in another tab, and Stripe's event is not here yet.
    fake().pay(session);
    expect(await deleteAccount(mara.id)).toEqual({ kind: "checkout paid" });
    expect(await mara.balance()).toBe(10_000_000n);
    expect(await isThere(mara.id)).toBe(true);
    expect(await deleteAccount(mara.id)).toEqual({ kind: "deleted" });
    await booksAreInOrder();
  });

  test("is refused while a bank processes a payment", async () => {
    const mara = await person();
    const session = await mara.checkout();
    await deliverAll(fake().pay(session, { late: true }));
    expect(await deleteAccount(mara.id)).toEqual({ kind: "payment under way" });
    const me = createCaller({ user: { id: mara.id, email: mara.email, walletId: mara.walletId, signedInAt: new Date() } });
    expect(await me.account.overview()).toMatchObject({ unsettledPayment: { kind: "payment under way" } });
    await expect(me.account.delete({ confirm: mara.email })).rejects.toThrow("under way");
    await deliverAll(fake().settleLate(session, true));
    expect(await mara.balance()).toBe(10_000_000n);
    expect(await deleteAccount(mara.id)).toEqual({ kind: "deleted" });
  });

  test("is refused when an open checkout turns out to be processed by a bank", async () => {
    const mara = await person();
    fake().pay(await mara.checkout(), { late: true });
    expect(await deleteAccount(mara.id)).toEqual({ kind: "payment under way" });
    expect(await isThere(mara.id)).toBe(true);
  });

  test("is refused while an automatic top-up is not settled", async () => {
    const mara = await person();
    await db().prisma.payment.create({
      data: {
        ...mara.owner,
        provider: "stripe",
        automatic: true,
        automaticFor: mara.walletId,
        amount: 1n,
        cents: 1,
        expiresAt: new Date(Date.now() + 60_000),
      },
    });
    expect(await deleteAccount(mara.id)).toEqual({ kind: "payment under way" });
  });

  test("is refused while the wallet has a debt, which signing up again would not pay", async () => {
    const mara = await person();
    const events = fake().pay(await mara.checkout());
    await deliverAll(events);
    await transfer(db().sql, {
      id: newId(),
      debitId: mara.walletId,
      creditId: platformAccount.revenue,
      amount: 2_500_000n,
      reason: "correction",
    });
    await deliverAll(fake().refund(idIn(events[0]), 1_000).events);
    expect(await deleteAccount(mara.id)).toEqual({ kind: "owes", amount: 2_500_000n });
    const me = createCaller({ user: { id: mara.id, email: mara.email, walletId: mara.walletId, signedInAt: new Date() } });
    await expect(me.account.delete({ confirm: mara.email })).rejects.toThrow("owes $2.50");
    await deliverAll(fake().pay(await mara.checkout()));
    expect(await deleteAccount(mara.id)).toEqual({ kind: "deleted" });
    await booksAreInOrder();
  });

  test("changes nothing when Stripe does not tell the state of a checkout", async () => {
    const mara = await person();
    const session = await mara.checkout();
    await db().prisma.payment.update({ where: { sessionId: session }, data: { sessionId: `cs_unknown_${randomUUID()}` } });
    expect(await deleteAccount(mara.id)).toEqual({ kind: "checkout open" });
    expect(await isThere(mara.id)).toBe(true);
    // A checkout that Stripe does not know counts as over once it has expired.
    await db().prisma.payment.updateMany({ where: { userId: mara.id }, data: { expiresAt: new Date(Date.now() - 1) } });
    expect(await deleteAccount(mara.id)).toEqual({ kind: "deleted" });
  });

  test("does not wait for checkouts that can't be paid: sandbox ones, and one whose address no browser got", async () => {
    const mara = await person();
    const open = { ...mara.owner, amount: 1n, cents: 1, expiresAt: new Date(Date.now() + 3_600_000) } as const;
    await db().prisma.payment.create({ data: { ...open, provider: "sandbox" } });
    const unseen = await db().prisma.payment.create({ data: { ...open, provider: "stripe", createdAt: new Date(Date.now() - 3_000_000) } });
    // A checkout this young may be about to be shown.
    const opening = await db().prisma.payment.create({ data: { ...open, provider: "stripe" } });
    expect(await deleteAccount(mara.id)).toEqual({ kind: "checkout open" });
    await db().prisma.payment.update({ where: { id: opening.id }, data: { status: "failed" } });
    expect(await deleteAccount(mara.id)).toEqual({ kind: "deleted" });
    expect((await db().prisma.payment.findUniqueOrThrow({ where: { id: unseen.id } })).status).toBe("expired");
  });

  test("is followed by no new checkout", async () => {
    const mara = await person();
    expect(await deleteAccount(mara.id)).toEqual({ kind: "deleted" });
    await expect(openCheckout({ owner: mara.owner, packageId: "usd_10" })).rejects.toMatchObject({ code: "not_found" });
  });
});

describe("deleting an account on Postgres", () => {
  const db = withDatabase("postgres");
  const { person } = withStripe(db);

  test("is refused when a checkout is opened at the same moment", async () => {
    const mara = await person();
    let deleting: ReturnType<typeof deleteAccount> | undefined;
    await transaction(async (tx) => {
      const expiresAt = new Date(Date.now() + 3_600_000);
      await tx.prisma.payment.create({ data: { ...mara.owner, provider: "stripe", amount: 1n, cents: 1, expiresAt } });
      deleting = deleteAccount(mara.id);
      await until(() => someoneWaits(db().sql));
    }, db());
    expect(await deleting).toEqual({ kind: "checkout open" });
  });
});
